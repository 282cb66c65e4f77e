"""UperNet on ADE20K with a Swin-B: 512 px, 160k iterations, whole images at test; as Swin (2103.14030) and LocalMIM.

COMMAND   tools/dist_train.sh configs/transfer/upernet_swinb.py 8 \
                  --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 2 images = batch 16, 160,000 iterations; cost not measured here
sources   SwinTransformer/Swin-Transformer-Semantic-Segmentation configs/swin/upernet_swin_base_..._160k_ade20k.py and, the same,
          LocalMIM semantic_segmentation configs/upernet_swin_base_12_512_slide_160k_ade20k.py: lr 6e-5 for 16 images, weight
          decay 0.01 but for norms and bias tables, no layer decay, drop path 0.3, a norm on each stage, 512 channels,
          warm-up 1500 from 1e-6 of the rate, poly 1.0, FCN auxiliary 0.4 on the third stage; bf16 here, fp32 there
expected  mIoU 48.13 for Swin-B supervised on ImageNet-1K, single scale (published, Swin's README; not run here)
"""

_base_ = ["../_base_/upernet.py"]

protocol = dict(task="segmentation", name="upernet_swin_512_160k")
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
    decode_head=dict(in_channels=[128, 256, 512, 1024], channels=512),
    auxiliary_head=dict(in_channels=512),
    test_cfg=dict(mode="whole"),
)
base_lr = 9.6e-4  # 6e-5 for 16 images
optim_wrapper = dict(
    optimizer=dict(weight_decay=0.01),
    # Names with "norm" and the bias tables, which the backbone exempts itself; biases and the heads' BatchNorm are decayed.
    paramwise_cfg=dict(decay_1d=True, no_decay_names=["*norm*"]),
)
