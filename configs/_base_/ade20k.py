"""ADE20K, 150 classes at 512 px: scale jitter 0.5 to 2, crop, flip, photometric distortion (mmseg's and BEiT's standard)."""

_base_ = ["./runtime.py"]

train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type="KeyedSampler", shuffle=True, infinite=True),
    dataset=dict(
        type="SeededDataset",
        dataset=dict(
            _scope_="mmseg",
            type="ADE20KDataset",
            data_root=_base_.data_root,
            data_prefix=dict(img_path="ade20k/images/training", seg_map_path="ade20k/annotations/training"),
            pipeline=[
                dict(type="LoadImageFromFile"),
                dict(type="LoadAnnotations", reduce_zero_label=True),
                dict(type="RandomResize", scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
                dict(type="RandomCrop", crop_size=(512, 512), cat_max_ratio=0.75),
                dict(type="RandomFlip", prob=0.5),
                dict(type="PhotoMetricDistortion"),
                dict(type="PackSegInputs"),
            ],
        ),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        _scope_="mmseg",
        type="ADE20KDataset",
        data_root=_base_.data_root,
        data_prefix=dict(img_path="ade20k/images/validation", seg_map_path="ade20k/annotations/validation"),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=(2048, 512), keep_ratio=True),
            # After Resize: labels keep the size of the original image, at which the figure is taken.
            dict(type="LoadAnnotations", reduce_zero_label=True),
            dict(type="PackSegInputs"),
        ],
    ),
)
val_evaluator = dict(type="mmseg.IoUMetric", iou_metrics=["mIoU"])
val_cfg = dict(type="ValLoop")
