"""UperNet on ADE20K with a Swin-L: 512 px, 160k iterations, whole images at test.

COMMAND   tools/dist_train.sh configs/transfer/upernet_swinl.py 8 \
                  --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 2 images = batch 16, 160,000 iterations; cost not measured here
sources   mmseg 1.2 configs/swin/swin-large-patch4-window7-in22k-pre_upernet_8xb2-160k_ade20k-512x512.py: widths of Swin-L, all else
          as Swin-B; no MIM paper's settings for Swin-L are known
expected  no figure of this setting is known (not run here)
"""

_base_ = ["./upernet_swinb.py"]

model = dict(
    backbone=dict(arch="large", init_cfg=dict(checkpoint="checkpoints/swin_large_localmim_hog_800ep_pretrain.pth")),
    decode_head=dict(in_channels=[192, 384, 768, 1536]),
    auxiliary_head=dict(in_channels=768),
)
