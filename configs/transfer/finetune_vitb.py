"""MAE's fine-tuning of a ViT-B on ImageNet: mean of the patches, new fc_norm, layer-wise lr decay, strong augmentation.

COMMAND   mimeval transfer CKPT --suite configs/suites/vitb.py --tasks finetune --data DATA --out work_dirs/vitb
          8 GPUs: tools/dist_train.sh configs/transfer/finetune_vitb.py 8 \
                  --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 32 images x 4 accumulated = batch 1024, 100 epochs, as MAE's single-node command; 7 h 11 min on 32 V100
          (published); cost not measured here
sources   official MAE FINETUNE.md, main_finetune.py, util/datasets.py, util/lr_sched.py: base lr 5e-4, warm-up 5 of 100 epochs
          from 0, min lr 1e-6 (both times the layer's scale), AdamW 0.9 and 0.999, weight decay 0.05, layer decay 0.65, drop
          path 0.1, RandAugment rand-m9-mstd0.5-inc1, random erasing 0.25 (pixel, once), Mixup 0.8 or CutMix 1.0, label
          smoothing 0.1, head std 2e-5, trainable positions, no clipping
expected  83.6 top-1 for MAE ViT-B 1600 ep (published, FINETUNE.md: 83.664, repeats 83.57 +- 0.08; not run here)
"""

_base_ = ["../_base_/classification.py"]

protocol = dict(task="finetune", name="finetune_mae")
model = dict(
    data_preprocessor=dict(mixup=dict(mixup_alpha=0.8, cutmix_alpha=1.0, prob=1.0, switch_prob=0.5, mode="batch")),
    backbone=dict(
        type="mimeval.VisionTransformer",
        arch="base",
        out_type="mean",
        pos_trainable=True,
        drop_path_rate=0.1,
        init_cfg=dict(type="mimeval.Pretrained", checkpoint="checkpoints/mae_pretrain_vit_base.pth"),
    ),
    head=dict(
        type="LinearClsHead",
        num_classes=1000,
        in_channels=768,
        init_cfg=dict(type="TruncNormal", layer="Linear", std=2e-5),
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
    ),
)
train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        dataset=dict(
            pipeline=[
                dict(type="LoadRGB"),
                dict(type="RandomResizedCrop", size=224, scale=(0.08, 1.0), interpolation="bicubic"),
                dict(type="RandomFlip", prob=0.5),
                dict(type="RandAugment", config="rand-m9-mstd0.5-inc1", size=224, interpolation="bicubic"),
                dict(type="RandomErasing", prob=0.25, mode="pixel", count=1),
                dict(type="PackImages"),
            ]
        )
    ),
)
base_lr = 5e-4
optim_wrapper = dict(
    type="AutocastOptimWrapper",
    precision="fp32",
    accumulative_counts=4,
    optimizer=dict(type="AdamW", betas=(0.9, 0.999), weight_decay=0.05),
    constructor="LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(layer_decay=0.65),
)
param_scheduler = [dict(type="WarmupCosine", warmup=5, min_lr=1e-6, convert_to_iter_based=True)]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=100, val_interval=10)
