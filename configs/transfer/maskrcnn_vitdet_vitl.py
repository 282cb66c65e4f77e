"""Mask R-CNN on COCO with a ViT-L and the simple feature pyramid: ViTDet (2203.16527), 100 epochs.

COMMAND   tools/dist_train.sh configs/transfer/maskrcnn_vitdet_vitl.py 8 \
                  --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 8 images = batch 64, 184,375 iterations; cost not measured here
sources   detectron2 projects/ViTDet/configs/COCO/mask_rcnn_vitdet_l_100ep.py: as ViT-B but layer decay 0.8, drop path 0.4,
          global blocks 5, 11, 17, 23
expected  box AP 55.5, mask AP 49.2 for MAE ViT-L 1600 ep (published, detectron2; not run here)
"""

_base_ = ["./maskrcnn_vitdet_vitb.py"]

model = dict(
    backbone=dict(
        arch="large",
        global_blocks=(5, 11, 17, 23),
        drop_path_rate=0.4,
        init_cfg=dict(checkpoint="checkpoints/mae_pretrain_vit_large.pth"),
    ),
    neck=dict(in_channels=1024),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay=0.8))
