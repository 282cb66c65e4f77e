"""Boxes of blood cells: the detector of pennfudan_maskrcnn.py without its mask head, for annotations that have boxes only.

COMMAND   mimeval transfer CKPT --suite configs/suites/bccd.py --data DATA --out work_dirs/bccd
hardware  CPU
sources   data: Shenggan/BCCD_Dataset in COCO's layout below DATA/bccd, 291 training and 73 validation images, three classes;
          recipe: pennfudan_maskrcnn.py
expected  docs/results.md, reproduced there
"""

_base_ = ["./pennfudan_maskrcnn.py"]

protocol = dict(name="boxes_bccd")
size = 192
classes = ("Platelets", "RBC", "WBC")
model = dict(roi_head=dict(bbox_head=dict(num_classes=3), mask_roi_extractor=None, mask_head=None))
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            ann_file="bccd/annotations/instances_train2017.json",
            data_prefix=dict(img="bccd/train2017/"),
            metainfo=dict(classes=classes),
            pipeline=[
                dict(type="LoadImageFromFile"),
                dict(type="LoadAnnotations", with_bbox=True),
                dict(type="Resize", scale=(size, size), keep_ratio=True),
                dict(type="RandomFlip", prob=0.5),
                dict(type="PackDetInputs"),
            ],
        )
    ),
)
val_dataloader = dict(
    dataset=dict(
        ann_file="bccd/annotations/instances_val2017.json",
        data_prefix=dict(img="bccd/val2017/"),
        metainfo=dict(classes=classes),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=(size, size), keep_ratio=True),
            dict(type="LoadAnnotations", with_bbox=True),
            dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
        ],
    ),
)
val_evaluator = dict(ann_file=_base_.data_root + "bccd/annotations/instances_val2017.json", metric=["bbox"])
