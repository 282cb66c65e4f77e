"""LocalMIM's fine-tuning of a Swin-L with windows of 14 on ImageNet, from 800 epochs of pre-training.

COMMAND   tools/dist_train.sh configs/transfer/finetune_localmim_swinl.py 8 \
              --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 32 images x 8 accumulated = batch 2048, 100 epochs; cost not measured here
sources   official LocalMIM Swin/README.md (lr 2e-3, warm-up 20, layer decay 0.8, drop path 0.3) and Swin/models_swin.py
          (swin_large_patch4_win14); the rest as finetune_localmim_swinb.py
expected  85.6 top-1 for LocalMIM Swin-L HOG 800 ep (published, README.md; not run here)
"""

_base_ = ["./finetune_localmim_swinb.py"]

protocol = dict(name="finetune_localmim_800ep")
model = dict(
    backbone=dict(
        arch="large",
        window_size=14,
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint="checkpoints/swin_large_localmim_hog_800ep_pretrain.pth"),
    ),
    head=dict(in_channels=1536),
)
train_dataloader = dict(batch_size=32)
base_lr = 2.5e-4
optim_wrapper = dict(accumulative_counts=8, paramwise_cfg=dict(layer_decay=0.8))
