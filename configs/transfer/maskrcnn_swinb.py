"""Mask R-CNN on COCO with a Swin-B and an FPN, 36 epochs (3x): what SimMIM, GreenMIM and LocalMIM compare their Swin-B with.

COMMAND   tools/dist_train.sh configs/transfer/maskrcnn_swinb.py 8 \
                  --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 2 images = batch 16, 263,880 iterations; cost not measured here
sources   SwinTransformer/Swin-Transformer-Object-Detection (mask_rcnn_swin_small_..._3x_coco.py, _base_/models/mask_rcnn_swin_fpn.py,
          schedule_1x.py): lr 1e-4 for 16 images, weight decay 0.05 but for norms and bias tables, no layer decay, warm-up 500
          from 0.001, steps after 27 and 33 epochs, multi-scale crops, two shared fully connected layers, no clipping. It has
          no Mask R-CNN with Swin-B: widths and drop path 0.3 are those of its Cascade Mask R-CNN with Swin-B. The three
          papers' own settings are not published as code; bf16 here, apex fp16 there
expected  box AP 50.4, mask AP 44.4 for SimMIM Swin-B 800 ep, 50.7 and 44.9 for LocalMIM Swin-B 400 ep (published in the
          papers, quoted from memory, not checked; not run here)
"""

_base_ = ["../_base_/mask_rcnn.py"]

protocol = dict(task="detection", name="maskrcnn_swin_3x")
epoch = 7330  # iterations: 117,266 images / 16
max_iters = 36 * epoch
sides = [(side, 1333) for side in range(480, 801, 32)]
resize = dict(type="RandomChoiceResize", scales=sides, keep_ratio=True)
model = dict(
    backbone=dict(
        type="mimeval.SwinTransformer",
        arch="base",
        window_size=7,
        out_type="maps",
        tap_norm=True,
        drop_path_rate=0.3,
        init_cfg=dict(type="mimeval.Pretrained", checkpoint="checkpoints/swin_base_localmim_hog_400ep_pretrain.pth"),
    ),
    neck=dict(type="FPN", in_channels=[128, 256, 512, 1024], out_channels=256, num_outs=5),
    roi_head=dict(
        bbox_head=dict(
            _delete_=True,
            type="Shared2FCBBoxHead",
            in_channels=256,
            fc_out_channels=1024,
            roi_feat_size=7,
            num_classes=80,
            bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]),
            reg_class_agnostic=False,
            loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type="L1Loss", loss_weight=1.0),
        )
    ),
    train_cfg=dict(
        rpn=dict(assigner=dict(type="MaxIoUAssigner", min_pos_iou=0.3, ignore_iof_thr=-1)),
        rcnn=dict(assigner=dict(type="MaxIoUAssigner", min_pos_iou=0.5, match_low_quality=True, ignore_iof_thr=-1)),
    ),
)
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    dataset=dict(
        dataset=dict(
            filter_cfg=dict(min_size=32),
            pipeline=[
                dict(type="LoadImageFromFile"),
                dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
                dict(type="RandomFlip", prob=0.5),
                dict(
                    type="RandomChoice",
                    transforms=[
                        [resize],
                        [
                            dict(
                                type="RandomChoiceResize",
                                scales=[(400, 1333), (500, 1333), (600, 1333)],
                                keep_ratio=True,
                            ),
                            dict(
                                type="RandomCrop",
                                crop_type="absolute_range",
                                crop_size=(384, 600),
                                allow_negative_crop=True,
                            ),
                            resize,
                        ],
                    ],
                ),
                dict(type="PackDetInputs"),
            ],
        )
    ),
)
val_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=(1333, 800), keep_ratio=True),
            dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
            dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
        ]
    )
)
base_lr = 1.6e-3  # 1e-4 for 16 images
optim_wrapper = dict(
    type="AutocastOptimWrapper",
    precision="bf16",
    optimizer=dict(type="AdamW", betas=(0.9, 0.999), weight_decay=0.05),
    constructor="LayerDecayOptimWrapperConstructor",
    # Names with "norm" and the bias tables, which the backbone exempts itself; biases are decayed.
    paramwise_cfg=dict(decay_1d=True, no_decay_names=["*norm*"]),
)
param_scheduler = [
    dict(
        type="WarmupMultiStep",
        by_epoch=False,
        warmup=500,
        start_ratio=0.001,
        milestones=[27 * epoch, 33 * epoch],
        gamma=0.1,
    )
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=3 * epoch)
