"""Mask R-CNN on COCO with a ViT-S and the simple feature pyramid: ViTDet (2203.16527), 100 epochs.

COMMAND   tools/dist_train.sh configs/transfer/maskrcnn_vitdet_vits.py 8 \
                  --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 8 images = batch 64, 184,375 iterations; cost not measured here
sources   detectron2 has no ViT-S. G2SD (2302.14771; pengzhiliang/G2SD, G2SD_det_dis/projects/ViTDet/configs/COCO/
          mask_rcnn_vitdet_s_100ep.py) adds one: as ViT-B, layer decay 0.7 and drop path 0.1 included; a second file of its has 0.65
          and 0.4
expected  no published figure with these settings is known (not run here)
"""

_base_ = ["./maskrcnn_vitdet_vitb.py"]

model = dict(
    backbone=dict(arch="small", init_cfg=dict(checkpoint="checkpoints/dino_deitsmall16_pretrain.pth")),
    neck=dict(in_channels=384),
)
