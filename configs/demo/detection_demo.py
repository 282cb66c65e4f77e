"""Mask R-CNN on the demo set: global attention, a pyramid of three levels at strides 2, 4 and 8, small heads.

COMMAND   mimeval transfer CKPT --suite configs/suites/demo.py --tasks detection --data data/demo --out work_dirs/demo
hardware  CPU, 56 s a row on one thread
sources   recipe: transfer/maskrcnn_vitdet_vitb.py; sizes and rate: set by hand, not searched; iterations: what fits in a minute
expected  see README.md, reproduced by tools/quickstart.sh
"""

_base_ = ["../transfer/maskrcnn_vitdet_vitb.py", "../_base_/demo_vit.py"]

protocol = dict(name="maskrcnn_demo")
max_iters = 160
channels = 48
classes = tuple("0123456789")
width, patch = _base_.backbone.arch.embed_dim, _base_.backbone.patch_size
strides = [2, 4, 8]
anchors = dict(scales=[6], strides=strides)  # 12, 24 and 48 px
model = dict(
    data_preprocessor=dict(pad_size_divisor=8),
    backbone=dict(_base_.backbone, _delete_=True, out_type="maps", pos_trainable=True),
    neck=dict(in_channels=width, out_channels=channels, scales=[patch / stride for stride in strides], num_outs=3),
    rpn_head=dict(in_channels=channels, feat_channels=channels, num_convs=1, anchor_generator=anchors),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=channels, featmap_strides=strides, finest_scale=12),
        bbox_head=dict(
            _delete_=True,
            type="Shared2FCBBoxHead",
            in_channels=channels,
            fc_out_channels=128,
            roi_feat_size=7,
            num_classes=10,
            bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]),
            reg_class_agnostic=True,
            loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type="L1Loss", loss_weight=1.0),
        ),
        mask_roi_extractor=dict(out_channels=channels, featmap_strides=strides, finest_scale=12),
        mask_head=dict(
            num_convs=1, in_channels=channels, conv_out_channels=channels, num_classes=10, class_agnostic=True
        ),
    ),
    train_cfg=dict(
        rpn=dict(assigner=dict(type="MaxIoUAssigner", min_pos_iou=0.3, ignore_iof_thr=-1), sampler=dict(num=32)),
        rpn_proposal=dict(nms_pre=64, max_per_img=16),
        rcnn=dict(
            assigner=dict(type="MaxIoUAssigner", min_pos_iou=0.5, ignore_iof_thr=-1),
            sampler=dict(num=8, pos_fraction=0.5),
            mask_size=28,
        ),
    ),
    test_cfg=dict(rpn=dict(nms_pre=64, max_per_img=8), rcnn=dict(max_per_img=5)),
)
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        dataset=dict(
            metainfo=dict(classes=classes),
            filter_cfg=dict(min_size=0),
            pipeline=[
                dict(type="LoadImageFromFile"),
                dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
                dict(type="PackDetInputs"),
            ],
        )
    ),
)
val_dataloader = dict(
    batch_size=50,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        metainfo=dict(classes=classes),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=(32, 32), keep_ratio=True),
            dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
            dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
        ],
    ),
)
base_lr = None
optim_wrapper = dict(
    precision="fp32", optimizer=dict(lr=2e-3, weight_decay=0.05), paramwise_cfg=dict(_delete_=True, layer_decay=0.8)
)
param_scheduler = [dict(type="WarmupCosine", warmup=20, by_epoch=False)]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=-1, save_last=False))
