"""SimMIM, ViT-B/16, 800 epochs on ImageNet-1K (2111.09886).

COMMAND   tools/dist_train.sh configs/simmim_vitb.py 8 --data DATA
hardware  8 GPUs x 128 images x 2 accumulated = batch 2048; cost not measured here
sources   official configs/vit_base__800ep/simmim_pretrain__vit_base__img224__800ep.yaml; what it leaves out: config.py,
          models/vision_transformer.py, optimizer.py (the mask token and the relative position table are decayed)
expected  fine-tuning 83.8 % top-1 (published, README.md; not run here)
"""

_base_ = ["./_base_/simmim.py"]

patch_size = 16
model = dict(
    backbone=dict(
        type="VisionTransformer",
        arch="base",
        img_size=224,
        patch_size=patch_size,
        pos_embed="none",
        rel_pos="shared_bias",
        init_values=0.1,
        k_bias=False,
        weight_init="beit",
        drop_path_rate=0.1,
    ),
    targets=[dict(type="PixelTarget", patch_size=patch_size, norm_pix=False)],
)
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            pipeline=[
                dict(type="LoadRGB"),
                dict(type="RandomResizedCrop", size=224, scale=(0.67, 1.0), interpolation="bilinear"),
                dict(type="RandomFlip", prob=0.5),
                dict(type="PackImages"),
            ]
        )
    )
)
optim_wrapper = dict(paramwise_cfg=dict(decay_tokens=False))
