"""Fitting a tokenizer on ImageNet: ClusterMIM's data and K-means (2407.09087; official main_kmeans_cpu_patch.py)."""

# Root of the data: imagenet/ below it. `--data ROOT` replaces it.
data_root = "data/"
randomness = dict(seed=0)
epochs = 100
data_preprocessor = dict(
    type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=False
)
train_dataloader = dict(
    batch_size=256,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    collate_fn=dict(type="default_collate"),
    # Class after class in every epoch, as the official scripts read them.
    sampler=dict(type="KeyedSampler", shuffle=False),
    dataset=dict(
        type="SeededDataset",
        dataset=dict(
            type="ImageFolder",
            data_root=data_root,
            folder="imagenet/train",
            with_label=False,
            pipeline=[
                dict(type="LoadRGB"),
                dict(type="ResizeCenterCrop", size=224, resize=256, interpolation="bicubic"),
                dict(type="PackImages"),
            ],
        ),
    ),
)
