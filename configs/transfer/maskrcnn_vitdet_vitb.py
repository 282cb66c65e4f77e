"""Mask R-CNN on COCO with a ViT-B and the simple feature pyramid: ViTDet (2203.16527), 100 epochs.

COMMAND   mimeval transfer CKPT --suite configs/suites/standard.py --tasks detection --data DATA --out work_dirs/standard
          8 GPUs: tools/dist_train.sh configs/transfer/maskrcnn_vitdet_vitb.py 8 \
                  --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 8 images = batch 64, 184,375 iterations; cost not measured here
sources   detectron2 projects/ViTDet (mask_rcnn_vitdet_b_100ep.py, coco_loader_lsj.py), configs/common (optim.py,
          models/mask_rcnn_vitdet.py, models/mask_rcnn_fpn.py) and backbone/vit.py: lr 1e-4 for 64 images, weight decay 0.1
          but for the ViT's norms and positions, layer decay 0.7, drop path 0.1, windows of 14 with global blocks 2, 5, 8,
          11, decomposed relative positions, heads with LayerNorm, no clipping; bf16 here, fp16 there
expected  box AP 51.6, mask AP 45.9 for MAE ViT-B 1600 ep (published, detectron2; not run here)
"""

_base_ = ["../_base_/mask_rcnn.py"]

protocol = dict(task="detection", name="maskrcnn_vitdet")
norm_cfg = dict(type="mmpretrain.LN2d", eps=1e-6)  # mmcv would fill in 1e-5
max_iters = 184375
model = dict(
    # Training crops and test images alike are padded to 1024 x 1024, below and to the right, after normalisation.
    data_preprocessor=dict(pad_size_divisor=1024),
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
    rpn_head=dict(num_convs=2),
    roi_head=dict(bbox_head=dict(norm_cfg=norm_cfg), mask_head=dict(norm_cfg=norm_cfg)),
)
base_lr = 4e-4  # 1e-4 for 64 images
optim_wrapper = dict(
    type="AutocastOptimWrapper",
    precision="bf16",
    optimizer=dict(type="AdamW", betas=(0.9, 0.999), weight_decay=0.1),
    constructor="LayerDecayOptimWrapperConstructor",
    # detectron2 exempts torch's norms, which its channel norms of pyramid and heads are not, and decays biases.
    paramwise_cfg=dict(layer_decay=0.7, decay_1d=True, no_decay_names=["backbone.*norm*"]),
)
param_scheduler = [
    dict(type="WarmupMultiStep", by_epoch=False, warmup=250, start_ratio=0.001, milestones=[163889, 177546], gamma=0.1)
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=20000)
