"""Labelled ImageNet for a linear probe, fine-tuning and k-NN: loaders, normalisation, top-1 (official MAE code, util/datasets.py)."""

_base_ = ["./runtime.py"]

train_dataloader = dict(
    batch_size=128,
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
            pipeline=[
                dict(type="LoadRGB"),
                dict(type="RandomResizedCrop", size=224, scale=(0.08, 1.0), interpolation="bicubic"),
                dict(type="RandomFlip", prob=0.5),
                dict(type="PackImages"),
            ],
        ),
    ),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="ImageFolder",
        data_root=_base_.data_root,
        folder="imagenet/val",
        pipeline=[dict(type="LoadRGB"), dict(type="ResizeCenterCrop", size=224, resize=256), dict(type="PackImages")],
    ),
)
val_evaluator = dict(type="mmpretrain.Accuracy", topk=(1, 5))
val_cfg = dict(type="ValLoop")
model = dict(
    _scope_="mmpretrain",
    type="ImageClassifier",
    # LoadRGB reads RGB, so that nothing is swapped.
    data_preprocessor=dict(
        type="mimeval.ClassificationPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        num_classes=1000,
    ),
)
