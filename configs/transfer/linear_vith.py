"""MAE's linear probe of a ViT-H/14 on ImageNet: 50 epochs.

COMMAND   tools/dist_train.sh configs/transfer/linear_vith.py 8 \
              --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 512 images x 4 accumulated = batch 16384, 50 epochs; cost not measured here
sources   official MAE FINETUNE.md: 50 epochs for ViT-L and ViT-H, --model vit_huge_patch14; the rest as linear_vitb.py
expected  77.2 top-1 for MAE ViT-H 1600 ep (published, FINETUNE.md; paper 76.6; not run here)
"""

_base_ = ["./linear_vitl.py"]

model = dict(
    backbone=dict(arch="huge", patch_size=14, init_cfg=dict(checkpoint="checkpoints/mae_pretrain_vit_huge.pth")),
    neck=dict(batch_norm=1280),
    head=dict(in_channels=1280),
)
