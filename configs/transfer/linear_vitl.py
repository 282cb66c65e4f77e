"""MAE's linear probe of a ViT-L on ImageNet: 50 epochs.

COMMAND   tools/dist_train.sh configs/transfer/linear_vitl.py 8 \
              --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 512 images x 4 accumulated = batch 16384, 50 epochs; cost not measured here
sources   official MAE FINETUNE.md: 50 epochs for ViT-L and ViT-H; the rest as linear_vitb.py
expected  76.0 top-1 for MAE ViT-L 1600 ep (published, FINETUNE.md; paper 75.8; not run here)
"""

_base_ = ["./linear_vitb.py"]

model = dict(
    backbone=dict(arch="large", init_cfg=dict(checkpoint="checkpoints/mae_pretrain_vit_large.pth")),
    neck=dict(batch_norm=1024),
    head=dict(in_channels=1024),
)
train_cfg = dict(max_epochs=50)
