"""MAE's fine-tuning of a ViT-S on ImageNet: ViT-B's constants, as CrossMAE has them for its ViT-S.

COMMAND   tools/dist_train.sh configs/transfer/finetune_vits.py 8 \
              --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 32 images x 4 accumulated = batch 1024, 100 epochs; cost not measured here
sources   MAE has no ViT-S. CrossMAE (TonyLianLong/CrossMAE, README.md) fine-tunes its own with MAE's script and ViT-B's command: base lr
          5e-4, batch 1024 (512 x 2 on one GPU), 100 epochs, layer decay 0.65, weight decay 0.05, drop path 0.1; the rest as
          finetune_vitb.py, but timm 0.9.7 there. iBOT's ViT-S has another recipe: class token, 200 epochs, layer decay 0.75
expected  79.5 top-1 for CrossMAE ViT-S 800 ep (published, README.md: 79.462 by this command, 79.318 in its table; not run here)
"""

_base_ = ["./finetune_vitb.py"]

model = dict(
    backbone=dict(arch="small", init_cfg=dict(checkpoint="checkpoints/dino_deitsmall16_pretrain.pth")),
    head=dict(in_channels=384),
)
