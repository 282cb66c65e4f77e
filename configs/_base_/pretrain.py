"""Pre-training on ImageNet images without labels: MAE's data and optimiser (MAE, 2111.06377, table 8; official code)."""

_base_ = ["./runtime.py"]

data_preprocessor = dict(
    type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=False
)
train_dataloader = dict(
    batch_size=64,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="KeyedSampler", shuffle=True),
    dataset=dict(
        type="SeededDataset",
        dataset=dict(
            type="ImageFolder",
            data_root=_base_.data_root,
            folder="imagenet/train",
            with_label=False,
            pipeline=[
                dict(type="LoadRGB"),
                dict(type="RandomResizedCrop", size=224, scale=(0.2, 1.0), interpolation="bicubic"),
                dict(type="RandomFlip", prob=0.5),
                dict(type="PackImages"),
            ],
        ),
    ),
)
# Learning rate for 256 images; the run's own is base_lr x effective batch / 256.
base_lr = 1.5e-4
optim_wrapper = dict(
    type="AutocastOptimWrapper",
    precision="fp32",
    accumulative_counts=1,
    optimizer=dict(type="AdamW", betas=(0.9, 0.95), weight_decay=0.05),
    constructor="LayerDecayOptimWrapperConstructor",
    # Official pre-training exempts one-dimensional parameters only: class and mask tokens are decayed.
    paramwise_cfg=dict(layer_decay=1.0, decay_tokens=True),
)
param_scheduler = [dict(type="WarmupCosine", warmup=40, epochs=800, min_lr=0.0, convert_to_iter_based=True)]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=800)
custom_hooks = [dict(type="ReconstructionHook", interval=20)]
