"""MAE's fine-tuning of a ViT-L on ImageNet: 50 epochs, twice ViT-B's rate per image.

COMMAND   tools/dist_train.sh configs/transfer/finetune_vitl.py 8 \
              --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 32 images x 4 accumulated = batch 1024, 50 epochs; 8 h 52 min on 32 V100 (published); cost not measured here
sources   official MAE FINETUNE.md: base lr 1e-3, layer decay 0.75, drop path 0.2; the rest as finetune_vitb.py
expected  85.9 top-1 for MAE ViT-L 1600 ep (published, FINETUNE.md: 85.952, repeats 85.87 +- 0.07; not run here)
"""

_base_ = ["./finetune_vitb.py"]

model = dict(
    backbone=dict(arch="large", drop_path_rate=0.2, init_cfg=dict(checkpoint="checkpoints/mae_pretrain_vit_large.pth")),
    head=dict(in_channels=1024),
)
base_lr = 1e-3
optim_wrapper = dict(paramwise_cfg=dict(layer_decay=0.75))
train_cfg = dict(max_epochs=50)
