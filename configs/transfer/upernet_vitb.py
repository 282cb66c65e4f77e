"""UperNet on ADE20K with a ViT-B: 512 px, 160k iterations; taps 3, 5, 7, 11 and relative position bias, as MAE's reproduction.

COMMAND   mimeval transfer CKPT --suite configs/suites/vitb.py --tasks segmentation --data DATA --out work_dirs/vitb
          8 GPUs: tools/dist_train.sh configs/transfer/upernet_vitb.py 8 \
                  --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 2 images = batch 16, 160,000 iterations; cost not measured here
sources   mmseg configs/mae and implus/mae_segmentation: lr 1e-4, weight decay 0.05, layer decay 0.65, drop path 0.1,
          warm-up 1500 from 1e-6 of the rate, poly 1.0, FCN auxiliary 0.4 on the third tap, sliding 512/341 at test
expected  mIoU 48.13 (mmseg) and 48.15 (mae_segmentation) for MAE ViT-B 1600 ep, single scale (published; not run here)
"""

_base_ = ["../_base_/ade20k.py"]

protocol = dict(task="segmentation", name="upernet_512_160k")
norm_cfg = dict(type="SyncBN", requires_grad=True)
max_iters = 160000
model = dict(
    _scope_="mmseg",
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512),
    ),
    backbone=dict(
        type="mimeval.VisionTransformer",
        arch="base",
        img_size=512,
        out_type="maps",
        taps=(3, 5, 7, 11),
        pos_trainable=True,
        rel_pos="bias",
        init_values=1.0,
        drop_path_rate=0.1,
        init_cfg=dict(type="mimeval.Pretrained", checkpoint="checkpoints/mae_pretrain_vit_base.pth"),
    ),
    neck=dict(type="Feature2Pyramid", embed_dim=768, rescales=[4, 2, 1, 0.5], norm_cfg=norm_cfg),
    decode_head=dict(
        type="UPerHead",
        in_channels=[768, 768, 768, 768],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=768,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_channels=768,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=0.4),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341)),
)
base_lr = 1.6e-3  # 1e-4 for 16 images
optim_wrapper = dict(
    type="AutocastOptimWrapper",
    precision="bf16",
    optimizer=dict(type="AdamW", betas=(0.9, 0.999), weight_decay=0.05),
    constructor="LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(layer_decay=0.65),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type="PolyLR", power=1.0, eta_min=0.0, by_epoch=False, begin=1500, end=max_iters),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=16000)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=5000))
