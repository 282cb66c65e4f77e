"""Mask R-CNN on COCO with a ViT-H/16 and the simple feature pyramid: ViTDet (2203.16527), 75 epochs.

COMMAND   tools/dist_train.sh configs/transfer/maskrcnn_vitdet_vith.py 8 \
                  --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 8 images = batch 64, 138,281 iterations; cost not measured here
sources   detectron2 projects/ViTDet/configs/COCO/mask_rcnn_vitdet_h_75ep.py: as ViT-B but layer decay 0.9, drop path 0.5,
          global blocks 7, 15, 23, 31, three quarters of the schedule, and weight decay on everything (its overrides and
          weight_decay_norm are emptied); starts from MAE's H/14 with patches resized to 16 px
expected  box AP 56.7, mask AP 50.2 for MAE ViT-H 1600 ep (published, detectron2; not run here)
"""

_base_ = ["./maskrcnn_vitdet_vitb.py"]

max_iters = 138281
warmup = 250 * max_iters / 184375  # detectron2 keeps the fraction
model = dict(
    backbone=dict(
        arch="huge",
        global_blocks=(7, 15, 23, 31),
        drop_path_rate=0.5,
        init_cfg=dict(checkpoint="checkpoints/mae_pretrain_vit_huge_p14to16.pth"),
    ),
    neck=dict(in_channels=1280),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay=0.9, decay_tokens=True, no_decay_names=[]))
param_scheduler = [
    dict(
        type="WarmupMultiStep", by_epoch=False, warmup=warmup, start_ratio=0.001, milestones=[122916, 133159], gamma=0.1
    )
]
train_cfg = dict(max_iters=max_iters)
