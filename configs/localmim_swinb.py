"""LocalMIM, Swin-B, 400 epochs on ImageNet-1K (2303.05251): HOG of three scales from Swin's stages, visible tokens only.

COMMAND   tools/dist_train.sh configs/localmim_swinb.py 8 --data DATA
hardware  8 GPUs x 256 images = batch 2048; published: 1.1 V100 hours an epoch
sources   official Swin/README.md (batch, rate, epochs, warm-up, 18 bins, hog_bias), Swin/run_pretrain.py (min lr 0; mask
          tokens and position bias tables are not decayed) and Swin/models_mim.py (masks, stages, decoders). There, tokens of
          stages 2 and 3 have wrong places in their windows: encoding.misplaced=True does so too (docs/methods.md)
expected  fine-tuning 84.1 % top-1 (published, README.md, with wrong places as encoding.misplaced=True gives them; not run here)
"""

_base_ = ["./_base_/pretrain.py"]

# Pixels to a token of each level: the stages after patch merging, the last one without.
strides = [8, 16, 32, 32]
model = dict(
    type="MaskedImageModel",
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(
        type="SwinTransformer", arch="base", img_size=224, window_size=7, norm_eps=1e-6, weight_init="xavier"
    ),
    masking=dict(type="RandomMasking", ratio=0.75, unit=32, shared=True),
    encoding=dict(type="SparseWindows", misplaced=False),
    decoders=[dict(type="MAEDecoder", embed_dim=dim, depth=1, num_heads=4) for dim in (64, 128, 128, 128)],
    targets=[dict(type="HOGTarget", cell=stride, nbins=18, bias=True) for stride in strides],
    loss=dict(type="MaskedMSE"),
)
train_dataloader = dict(batch_size=256)
base_lr = 1e-4
optim_wrapper = dict(paramwise_cfg=dict(no_decay_names=["mask_token", "relative_position_bias_table"]))
param_scheduler = [dict(type="WarmupCosine", warmup=40, epochs=400, min_lr=0.0, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=400)
# HOG cannot be shown.
custom_hooks = []
