"""MAE's linear probe on the demo set: mean of the patch tokens after the final norm, BatchNorm, one linear layer, LARS.

COMMAND   mimeval transfer CKPT --suite configs/suites/demo.py --tasks linear --data data/demo --out work_dirs/demo
hardware  2 CPU cores, about 15 s a row
sources   recipe: transfer/linear_vitb.py; tokens, batch, epochs and rate: chosen on 1,000 images carved from train
expected  see README.md, reproduced by tools/quickstart.sh
"""

_base_ = ["../transfer/linear_vitb.py", "../_base_/demo_vit.py"]

protocol = dict(name="linear_mae_demo")
model = dict(
    data_preprocessor=dict(num_classes=10),
    backbone=dict(_base_.backbone, _delete_=True, out_type="tokens", frozen=True),
    neck=dict(tokens="mean", batch_norm=96),
    head=dict(num_classes=10, in_channels=96),
)
pipeline = [dict(type="LoadRGB"), dict(type="PackImages")]
train_dataloader = dict(
    batch_size=200, num_workers=0, persistent_workers=False, dataset=dict(dataset=dict(pipeline=pipeline))
)
val_dataloader = dict(batch_size=250, num_workers=0, persistent_workers=False, dataset=dict(pipeline=pipeline))
base_lr = 1.0
optim_wrapper = dict(accumulative_counts=1)
param_scheduler = [dict(type="WarmupCosine", warmup=1, min_lr=0.0, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=6, val_interval=6)
default_hooks = dict(checkpoint=dict(interval=-1, save_last=False))
