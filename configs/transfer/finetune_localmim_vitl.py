"""LocalMIM's fine-tuning of a ViT-L on ImageNet, from 800 epochs of pre-training.

COMMAND   tools/dist_train.sh configs/transfer/finetune_localmim_vitl.py 8 \
              --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 64 images x 2 accumulated = batch 1024, 50 epochs; cost not measured here
sources   official LocalMIM ViT/README.md (lr 3e-3, warm-up 5, layer decay 0.75, drop path 0.2) and ViT/run_finetune.py (min
          lr 1e-6); the rest as finetune_localmim_vitb.py
expected  85.8 top-1 for LocalMIM ViT-L HOG 800 ep (published, README.md; not run here)
"""

_base_ = ["./finetune_localmim_vitb.py"]

protocol = dict(name="finetune_localmim_800ep")
model = dict(
    backbone=dict(
        arch="large",
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint="checkpoints/vit_large_localmim_hog_800ep_pretrain.pth"),
    ),
    head=dict(in_channels=1024),
)
train_dataloader = dict(batch_size=64)
base_lr = 7.5e-4
optim_wrapper = dict(accumulative_counts=2, paramwise_cfg=dict(layer_decay=0.75))
param_scheduler = [dict(type="WarmupCosine", warmup=5, min_lr=1e-6, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=50)
