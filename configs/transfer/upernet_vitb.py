"""UperNet on ADE20K with a ViT-B: 512 px, 160k iterations; taps 3, 5, 7, 11 and relative position bias, as MAE's reproduction.

COMMAND   mimeval transfer CKPT --suite configs/suites/standard.py --tasks segmentation --data DATA --out work_dirs/standard
          8 GPUs: tools/dist_train.sh configs/transfer/upernet_vitb.py 8 \
                  --cfg-options model.backbone.init_cfg.checkpoint=CKPT
hardware  8 GPUs x 2 images = batch 16, 160,000 iterations; cost not measured here
sources   implus/mae_segmentation (configs/mae, backbone/mae.py, mmcv_custom), which mmseg's configs/mae follows: lr 1e-4 for 16
          images, weight decay 0.05 but for one-dimensional parameters, layer decay 0.65, drop path 0.1, layer scale from 1,
          warm-up 1500 from 1e-6 of the rate, poly 1.0 from the first iteration, FCN auxiliary 0.4 on the third tap, sliding
          512/341 at test; bf16 here, apex fp16 there
expected  mIoU 48.15 (mae_segmentation) and 48.13 (mmseg) for MAE ViT-B 1600 ep, single scale (published; not run here)
"""

_base_ = ["../_base_/upernet.py"]

protocol = dict(task="segmentation", name="upernet_512_160k")
model = dict(
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
    neck=dict(type="Feature2Pyramid", embed_dim=768, rescales=[4, 2, 1, 0.5], norm_cfg=_base_.norm_cfg),
    decode_head=dict(in_channels=[768] * 4, channels=768),
    auxiliary_head=dict(in_channels=768),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341)),
)
base_lr = 1.6e-3  # 1e-4 for 16 images
optim_wrapper = dict(
    optimizer=dict(weight_decay=0.05),
    # The official constructor means to spare positions and class token, but looks for names without "backbone.".
    paramwise_cfg=dict(layer_decay=0.65, decay_tokens=True),
)
