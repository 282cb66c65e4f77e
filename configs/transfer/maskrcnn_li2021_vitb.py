"""Mask R-CNN on COCO with a ViT-B and an FPN over four taps: the older benchmark of Li et al. (2111.11429), 100 epochs.

COMMAND   mimeval transfer CKPT --suite SUITE --tasks detection --data DATA --out work_dirs/li2021
          8 GPUs: tools/dist_train.sh configs/transfer/maskrcnn_li2021_vitb.py 8 \
                  --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 8 images = batch 64, 184,375 iterations; cost not measured here
sources   no official release; hustvl/MIMDet, which reproduces the paper's figures (configs/benchmarking, models/benchmarking.py):
          lr 8e-5 for 64 images, weight decay 0.1 but for norms and positions, no layer decay, drop path 0.1, cosine to 0,
          warm-up 0.25 epochs from 0.001, windows of 16 with global blocks 2, 5, 8, 11, two shared bias tables, SyncBN in FPN
          and heads; ours: positions of pre-training resampled (MIMDet builds a sin-cos table anew, rows first), padding by
          the mean colour (MIMDet: grey 128), bf16 (MIMDet: fp16)
expected  box AP 50.4, mask AP 44.9 for MAE ViT-B 1600 ep (published, MIMDet; the MAE paper has 50.3 and 44.9; not run here)
"""

_base_ = ["../_base_/mask_rcnn.py"]

protocol = dict(task="detection", name="maskrcnn_li2021_100ep")
norm_cfg = dict(type="SyncBN", requires_grad=True)
epochs, max_iters, size = 100, 184375, (1024, 1024)
model = dict(
    data_preprocessor=dict(pad_size_divisor=1024),
    backbone=dict(
        type="mimeval.VisionTransformer",
        arch="base",
        img_size=1024,
        out_type="maps",
        taps=(2, 5, 8, 11),
        pos_trainable=True,
        rel_pos="window_bias",
        window_size=16,
        global_blocks=(2, 5, 8, 11),
        drop_path_rate=0.1,
        init_cfg=dict(type="mimeval.Pretrained", checkpoint="checkpoints/mae_pretrain_vit_base.pth"),
    ),
    neck=[
        dict(type="mimeval.TapPyramid", embed_dim=768, scales=(4, 2, 1, 0.5), norm_cfg=dict(type="GN", num_groups=32)),
        dict(type="FPN", in_channels=[768] * 4, out_channels=256, num_outs=5, norm_cfg=norm_cfg),
    ],
    rpn_head=dict(num_convs=2),
    roi_head=dict(bbox_head=dict(norm_cfg=norm_cfg), mask_head=dict(norm_cfg=norm_cfg)),
)
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            pipeline=[
                dict(type="LoadImageFromFile"),
                dict(type="mimeval.LoadInstances"),
                dict(type="mimeval.ResizeScale", size=size, scale=(0.1, 2.0)),
                dict(type="mimeval.FixedSizeCrop", size=size),
                dict(type="RandomFlip", prob=0.5),
                dict(type="PackDetInputs"),
            ]
        )
    )
)
base_lr = 3.2e-4  # 8e-5 for 64 images
optim_wrapper = dict(
    type="AutocastOptimWrapper",
    precision="bf16",
    optimizer=dict(type="AdamW", betas=(0.9, 0.999), weight_decay=0.1),
    constructor="LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(decay_1d=True, no_decay_names=["*norm*", "*.bn.*", "backbone.rel_pos_bias.*"]),
)
param_scheduler = [dict(type="WholeCosine", by_epoch=False, warmup=max_iters * 0.25 / epochs, start_ratio=0.001)]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=20000)
