"""COCO 2017 boxes and masks with large-scale jitter 0.1 to 2.0 at 1024 px (detectron2 projects/ViTDet, coco_loader_lsj.py)."""

_base_ = ["./runtime.py"]

size = (1024, 1024)
train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type="KeyedSampler", shuffle=True, infinite=True),
    dataset=dict(
        type="SeededDataset",
        dataset=dict(
            _scope_="mmdet",
            type="CocoDataset",
            data_root=_base_.data_root,
            ann_file="coco/annotations/instances_train2017.json",
            data_prefix=dict(img="coco/train2017/"),
            filter_cfg=dict(filter_empty_gt=True),
            pipeline=[
                dict(type="LoadImageFromFile"),
                dict(type="mimeval.LoadInstances"),
                dict(type="RandomFlip", prob=0.5),
                dict(type="mimeval.ResizeScale", size=size, scale=(0.1, 2.0)),
                dict(type="mimeval.FixedSizeCrop", size=size),
                dict(type="PackDetInputs"),
            ],
        ),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        _scope_="mmdet",
        type="CocoDataset",
        data_root=_base_.data_root,
        ann_file="coco/annotations/instances_val2017.json",
        data_prefix=dict(img="coco/val2017/"),
        test_mode=True,
        pipeline=[
            dict(type="LoadImageFromFile"),
            # Pillow, which averages where it makes smaller, as in training.
            dict(type="Resize", scale=size, keep_ratio=True, backend="pillow"),
            dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
            dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
        ],
    ),
)
val_evaluator = dict(
    type="CocoInstances",
    ann_file=_base_.data_root + "coco/annotations/instances_val2017.json",
    metric=["bbox", "segm"],
)
val_cfg = dict(type="ValLoop")
