"""SimMIM's fine-tuning of a Swin-L on ImageNet at 224 pixels with windows of 14, from 800 epochs at 192 with windows of 12.

COMMAND   tools/dist_train.sh configs/transfer/finetune_simmim_swinl.py 8 \
              --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 64 images x 4 accumulated = batch 2048, 100 epochs; cost not measured here
sources   official SimMIM configs/swin_large__800ep/simmim_finetune__swin_large__img224_window14__800ep.yaml: layer decay 0.7,
          drop path 0.2; the rest as finetune_simmim_swinb.py (128 images per GPU by default; the release does not say more).
          The lowest layers' full rate (0.7^25) is below the common minimum, towards which it then rises, as in the release
expected  85.4 top-1 for SimMIM Swin-L 800 ep (published, README.md; not run here)
"""

_base_ = ["./finetune_simmim_swinb.py"]

model = dict(
    backbone=dict(
        arch="large",
        window_size=14,
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint="checkpoints/simmim_pretrain__swin_large__img192_window12__800ep.pth"),
    ),
    head=dict(in_channels=1536),
)
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(accumulative_counts=4, paramwise_cfg=dict(layer_decay=0.7))
