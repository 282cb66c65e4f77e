"""Mask R-CNN on COCO with a ViT-B and the simple feature pyramid: ViTDet (2203.16527), 100 epochs.

COMMAND   mimeval transfer CKPT --suite configs/suites/vitb.py --tasks detection --data DATA --out work_dirs/vitb
          8 GPUs: tools/dist_train.sh configs/transfer/maskrcnn_vitdet_vitb.py 8 \
                  --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 8 images = batch 64, 184,375 iterations; cost not measured here
sources   detectron2 projects/ViTDet (mask_rcnn_vitdet_b_100ep.py, models/mask_rcnn_vitdet.py, coco_loader_lsj.py): lr 1e-4 for
          64 images, weight decay 0.1, layer decay 0.7, drop path 0.1, windows of 14 with global blocks 2, 5, 8, 11,
          decomposed relative positions, warm-up 250, steps at 163,889 and 177,546; box and mask heads with LayerNorm
expected  box AP 51.6, mask AP 45.9 for MAE ViT-B 1600 ep (published, detectron2; not run here)
"""

_base_ = ["../_base_/coco_instance.py"]

protocol = dict(task="detection", name="maskrcnn_vitdet")
norm_cfg = dict(type="mmpretrain.LN2d", eps=1e-6)  # mmcv would fill in 1e-5
max_iters = 184375
model = dict(
    _scope_="mmdet",
    type="MaskRCNN",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_mask=True,
        pad_size_divisor=32,
        batch_augments=[dict(type="BatchFixedSizePad", size=(1024, 1024), pad_mask=True)],
    ),
    backbone=dict(
        type="mimeval.VisionTransformer",
        arch="base",
        out_type="maps",
        pos_trainable=True,
        rel_pos="decomposed",
        rel_pos_size=1024,
        window_size=14,
        global_blocks=(2, 5, 8, 11),
        drop_path_rate=0.1,
        init_cfg=dict(type="mimeval.Pretrained", checkpoint="checkpoints/mae_pretrain_vit_base.pth"),
    ),
    neck=dict(type="mimeval.SimpleFeaturePyramid", in_channels=768, out_channels=256),
    rpn_head=dict(
        type="RPNHead",
        in_channels=256,
        feat_channels=256,
        num_convs=2,
        anchor_generator=dict(type="AnchorGenerator", scales=[8], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32, 64]),
        bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=[1.0] * 4),
        loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(type="L1Loss", loss_weight=1.0),
    ),
    roi_head=dict(
        type="StandardRoIHead",
        bbox_roi_extractor=dict(
            type="SingleRoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=0),
            out_channels=256,
            featmap_strides=[4, 8, 16, 32],
        ),
        bbox_head=dict(
            type="Shared4Conv1FCBBoxHead",
            in_channels=256,
            conv_out_channels=256,
            fc_out_channels=1024,
            roi_feat_size=7,
            num_classes=80,
            norm_cfg=norm_cfg,
            bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]),
            reg_class_agnostic=False,
            loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type="L1Loss", loss_weight=1.0),
        ),
        mask_roi_extractor=dict(
            type="SingleRoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=14, sampling_ratio=0),
            out_channels=256,
            featmap_strides=[4, 8, 16, 32],
        ),
        mask_head=dict(
            type="FCNMaskHead",
            num_convs=4,
            in_channels=256,
            conv_out_channels=256,
            num_classes=80,
            norm_cfg=norm_cfg,
            loss_mask=dict(type="CrossEntropyLoss", use_mask=True, loss_weight=1.0),
        ),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type="MaxIoUAssigner",
                pos_iou_thr=0.7,
                neg_iou_thr=0.3,
                min_pos_iou=0.3,
                match_low_quality=True,
                ignore_iof_thr=-1,
            ),
            sampler=dict(type="RandomSampler", num=256, pos_fraction=0.5, neg_pos_ub=-1, add_gt_as_proposals=False),
            allowed_border=-1,
            pos_weight=-1,
            debug=False,
        ),
        rpn_proposal=dict(nms_pre=2000, max_per_img=1000, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0),
        rcnn=dict(
            assigner=dict(
                type="MaxIoUAssigner",
                pos_iou_thr=0.5,
                neg_iou_thr=0.5,
                min_pos_iou=0.5,
                match_low_quality=False,
                ignore_iof_thr=-1,
            ),
            sampler=dict(type="RandomSampler", num=512, pos_fraction=0.25, neg_pos_ub=-1, add_gt_as_proposals=True),
            mask_size=28,
            pos_weight=-1,
            debug=False,
        ),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=1000, max_per_img=1000, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0),
        rcnn=dict(score_thr=0.05, nms=dict(type="nms", iou_threshold=0.5), max_per_img=100, mask_thr_binary=0.5),
    ),
)
base_lr = 4e-4  # 1e-4 for 64 images
optim_wrapper = dict(
    type="AutocastOptimWrapper",
    precision="bf16",
    optimizer=dict(type="AdamW", betas=(0.9, 0.999), weight_decay=0.1),
    constructor="LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(layer_decay=0.7),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=250),
    dict(type="MultiStepLR", by_epoch=False, begin=0, end=max_iters, milestones=[163889, 177546], gamma=0.1),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=20000)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=5000))
