"""MAE, ViT-B/16, 800 epochs on ImageNet-1K (2111.06377).

COMMAND   tools/dist_train.sh configs/mae_vitb.py 8 --data DATA
hardware  8 GPUs x 64 images x 8 accumulated = 4096 images a step; cost not measured here
sources   official code's main_pretrain.py and PRETRAIN.md: every constant of _base_/pretrain.py and below
expected  fine-tuning 83.6 %, linear 68.0 % top-1 after 1600 epochs (published; not run here)
"""

_base_ = ["./_base_/pretrain.py"]

patch_size = 16
model = dict(
    type="MaskedImageModel",
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(type="VisionTransformer", arch="base", img_size=224, patch_size=patch_size),
    masking=dict(type="RandomMasking", ratio=0.75),
    decoders=[dict(type="MAEDecoder", embed_dim=512, depth=8, num_heads=16)],
    targets=[dict(type="PixelTarget", patch_size=patch_size, norm_pix=True)],
    loss=dict(type="MaskedMSE"),
)
optim_wrapper = dict(accumulative_counts=8)
