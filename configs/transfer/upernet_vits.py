"""UperNet on ADE20K with a ViT-S: 512 px, 160k iterations; taps 3, 5, 7, 11 and relative position bias, as ViT-B.

COMMAND   tools/dist_train.sh configs/transfer/upernet_vits.py 8 \
                  --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 2 images = batch 16, 160,000 iterations; cost not measured here
sources   mae_segmentation has no ViT-S. G2SD (2302.14771; pengzhiliang/G2SD, G2SD_seg_dis/src/configs/mae/
          upernet_mae_small_12_512_slide_160k_ade20k.py) adds one: as ViT-B, rate 1e-4 and layer decay 0.65 included, with a head as
          wide as the encoder, 384, as it is for ViT-B and ViT-L, and in iBOT's ViT-S. The rest of iBOT's is another recipe: rate
          3e-5, layer decay 0.9, no relative bias, normed taps
expected  no published figure with these settings is known (not run here)
"""

_base_ = ["./upernet_vitb.py"]

model = dict(
    backbone=dict(arch="small", init_cfg=dict(checkpoint="checkpoints/dino_deitsmall16_pretrain.pth")),
    neck=dict(embed_dim=384),
    decode_head=dict(in_channels=[384] * 4, channels=384),
    auxiliary_head=dict(in_channels=384),
)
