"""SimMIM's fine-tuning of a Swin-B on ImageNet at 224 pixels, from 100 epochs of pre-training.

COMMAND   tools/dist_train.sh configs/transfer/finetune_simmim_swinb_100ep.py 8 \
              --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 128 images x 2 accumulated = batch 2048, 100 epochs; cost not measured here
sources   official SimMIM configs/swin_base__100ep/simmim_finetune__swin_base__img224_window7__100ep.yaml: layer decay 0.9; the
          rest as finetune_simmim_swinb.py
expected  83.5 top-1 for SimMIM Swin-B 100 ep (published, README.md; not run here)
"""

_base_ = ["./finetune_simmim_swinb.py"]

protocol = dict(name="finetune_simmim_100ep")
model = dict(
    backbone=dict(init_cfg=dict(checkpoint="checkpoints/simmim_pretrain__swin_base__img192_window6__100ep.pth"))
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay=0.9))
