"""MAE's linear probe of a Swin-B on ImageNet: frozen backbone, mean of the last stage's tokens, BatchNorm, one linear layer, LARS.

COMMAND   mimeval transfer CKPT --suite configs/suites/standard.py --tasks linear --data DATA --out work_dirs/swinb
          8 GPUs: tools/dist_train.sh configs/transfer/linear_swinb.py 8 \
                  --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 512 images x 4 accumulated = batch 16384, 90 epochs; cost not measured here
sources   recipe: linear_vitb.py; what is read: Swin's own classifier (2103.14030). SimMIM and LocalMIM publish no linear probe
expected  no figure is known of a masked image model with Swin-B (not run here)
"""

_base_ = ["./linear_vitb.py", "../_base_/frozen_swinb.py"]

protocol = dict(name="linear_mae_swin")
model = dict(
    backbone=dict(_base_.frozen_swinb, _delete_=True),
    neck=dict(tokens="pooled", batch_norm=1024),
    head=dict(in_channels=1024),
)
