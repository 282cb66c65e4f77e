"""LocalMIM, ViT-B/16, 1600 epochs on ImageNet-1K (2303.05251): HOG of four scales, each from a block of its own.

COMMAND   tools/dist_train.sh configs/localmim_vitb.py 8 --data DATA
hardware  8 GPUs x 256 images = batch 2048; published: 0.7 V100 hours an epoch
sources   official ViT/README.md (batch, rate, epochs, warm-up, 9 bins), ViT/run_pretrain.py (min lr 1e-6; AdamW as MAE) and
          ViT/models_mim.py (blocks, scales, decoders)
expected  fine-tuning 84.0 % top-1 (published, README.md; not run here)
"""

_base_ = ["./_base_/pretrain.py"]

patch_size = 16
scales = [4, 2, 1, 0.5]
model = dict(
    type="MaskedImageModel",
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(
        type="VisionTransformer", arch="base", img_size=224, patch_size=patch_size, taps=[1, 3, -3, -1], tap_norm=True
    ),
    masking=dict(type="RandomMasking", ratio=0.75),
    decoders=[dict(type="LocalMIMDecoder", scale=scale, embed_dim=256, depth=1, num_heads=8) for scale in scales],
    targets=[dict(type="HOGTarget", cell=patch_size / scale, nbins=9) for scale in scales],
    loss=dict(type="MaskedMSE"),
)
train_dataloader = dict(batch_size=256)
base_lr = 2e-4
param_scheduler = [dict(type="WarmupCosine", warmup=40, epochs=1600, min_lr=1e-6, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=1600)
# HOG cannot be shown.
custom_hooks = []
