"""UperNet on ADE20K with a ViT-L: 512 px, 160k iterations; taps 7, 11, 15, 23.

COMMAND   tools/dist_train.sh configs/transfer/upernet_vitl.py 8 \
                  --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 2 images = batch 16, 160,000 iterations; cost not measured here
sources   no official config for MAE's ViT-L (its paper, A.4, gives none; mmseg has ViT-B only): taps 7, 11, 15, 23, drop path 0.2
          and head width 1024 are BEiT-L's (unilm beit/semantic_segmentation, upernet_beit_large_24_512_..._pt2ft.py); rate and
          layer scale are ViT-B's; layer decay 0.75 is MAE's for fine-tuning ViT-L; none was searched
expected  mIoU 53.6 for MAE ViT-L 1600 ep (published, MAE table 5, its settings unknown; not run here)
"""

_base_ = ["./upernet_vitb.py"]

model = dict(
    backbone=dict(
        arch="large",
        taps=(7, 11, 15, 23),
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint="checkpoints/mae_pretrain_vit_large.pth"),
    ),
    neck=dict(embed_dim=1024),
    decode_head=dict(in_channels=[1024] * 4, channels=1024),
    auxiliary_head=dict(in_channels=1024),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay=0.75))
