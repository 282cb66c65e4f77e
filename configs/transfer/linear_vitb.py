"""MAE's linear probe of a ViT-B on ImageNet: frozen backbone, class token, BatchNorm, one linear layer, LARS.

COMMAND   mimeval transfer CKPT --suite configs/suites/vitb.py --tasks linear --data DATA --out work_dirs/vitb
          8 GPUs: tools/dist_train.sh configs/transfer/linear_vitb.py 8 \
                  --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 512 images x 4 accumulated = batch 16384, 90 epochs; cost not measured here
sources   official MAE main_linprobe.py, util/crop.py and FINETUNE.md: base lr 0.1, weight decay 0, warm-up 10 of 90 epochs,
          head std 0.01, random resized crop 0.08 to 1 (bicubic, one draw clipped to the image) and flip, BatchNorm epsilon
          1e-6; 512 images per GPU, over which BatchNorm computes its statistics, are the official ones too
expected  67.8 top-1 for MAE ViT-B 1600 ep (published, FINETUNE.md; paper 68.0; not run here)
"""

_base_ = ["../_base_/classification.py"]

protocol = dict(task="linear", name="linear_mae")
model = dict(
    backbone=dict(
        type="mimeval.VisionTransformer",
        arch="base",
        out_type="tokens",
        frozen=True,
        init_cfg=dict(type="mimeval.Pretrained", checkpoint="checkpoints/mae_pretrain_vit_base.pth"),
    ),
    neck=dict(type="mimeval.ProbeNeck", tokens="cls", batch_norm=768),
    head=dict(
        type="LinearClsHead",
        num_classes=1000,
        in_channels=768,
        init_cfg=dict(type="TruncNormal", layer="Linear", std=0.01),
        loss=dict(type="CrossEntropyLoss"),
    ),
)
train_dataloader = dict(
    batch_size=512,
    dataset=dict(
        dataset=dict(
            pipeline=[
                dict(type="LoadRGB"),
                dict(type="ClippedResizedCrop", size=224, scale=(0.08, 1.0), interpolation="bicubic"),
                dict(type="RandomFlip", prob=0.5),
                dict(type="PackImages"),
            ]
        )
    ),
)
base_lr = 0.1
optim_wrapper = dict(
    type="AutocastOptimWrapper",
    precision="fp32",
    accumulative_counts=4,
    optimizer=dict(type="LARS", weight_decay=0.0, momentum=0.9),
    constructor="LayerDecayOptimWrapperConstructor",
)
param_scheduler = [dict(type="WarmupCosine", warmup=10, min_lr=0.0, convert_to_iter_based=True)]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=90, val_interval=10)
