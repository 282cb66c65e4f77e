"""Mask R-CNN on street photographs with pedestrians: windows of 8 tokens at 192 pixels, a pyramid at strides 4 to 32.

COMMAND   mimeval transfer CKPT --suite configs/suites/pennfudan.py --data DATA --out work_dirs/pennfudan
hardware  CPU
sources   data: PennFudanPed in COCO's layout below DATA/pennfudan, 90 training and 34 validation images, one class;
          recipe: demo/detection_demo.py with the anchors of transfer/maskrcnn_vitdet_vitb.py; sizes, rate and iterations set by hand
expected  docs/results.md, reproduced there
"""

_base_ = ["../demo/detection_demo.py"]

protocol = dict(name="maskrcnn_pennfudan")
size = 192
channels = 64
max_iters = 200
classes = ("person",)
strides = [4, 8, 16, 32]
model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    backbone=dict(img_size=size, window_size=8, global_blocks=(1, 3)),
    neck=dict(out_channels=channels, scales=[1, 0.5], num_outs=4),
    rpn_head=dict(in_channels=channels, feat_channels=channels, anchor_generator=dict(scales=[6], strides=strides)),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=channels, featmap_strides=strides, finest_scale=28),
        bbox_head=dict(in_channels=channels, num_classes=1),
        mask_roi_extractor=dict(out_channels=channels, featmap_strides=strides, finest_scale=28),
        mask_head=dict(num_convs=2, in_channels=channels, conv_out_channels=channels, num_classes=1),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=256, max_per_img=64),
        rcnn=dict(sampler=dict(num=32, pos_fraction=0.25)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=256, max_per_img=64), rcnn=dict(max_per_img=20)),
)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        dataset=dict(
            ann_file="pennfudan/annotations/instances_train2017.json",
            data_prefix=dict(img="pennfudan/train2017/"),
            metainfo=dict(classes=classes),
            pipeline=[
                dict(type="LoadImageFromFile"),
                dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
                dict(type="Resize", scale=(size, size), keep_ratio=True),
                dict(type="RandomFlip", prob=0.5),
                dict(type="PackDetInputs"),
            ],
        )
    ),
)
val_dataloader = dict(
    batch_size=1,
    dataset=dict(
        ann_file="pennfudan/annotations/instances_val2017.json",
        data_prefix=dict(img="pennfudan/val2017/"),
        metainfo=dict(classes=classes),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=(size, size), keep_ratio=True),
            dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
            dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
        ],
    ),
)
val_evaluator = dict(ann_file=_base_.data_root + "pennfudan/annotations/instances_val2017.json")
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [dict(type="WarmupCosine", warmup=40, by_epoch=False)]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
