"""MaskFeat, ViT-B/16, 300 epochs on ImageNet-1K (2112.09133): HOG of the patches that blocks of a mask hide.

COMMAND   tools/dist_train.sh configs/maskfeat_vitb.py 8 --data DATA
hardware  8 GPUs x 256 images = batch 2048, eight of the official config's machines of 256; cost not measured here
sources   official SlowFast configs/masked_ssl/in1k_VIT_B_MaskFeat_PT.yaml: rate 2e-4 per 256 images and warm-up from 1e-6, end at
          1e-6 (both per 256), clipping at 0.02; slowfast/datasets/imagenet.py: 78 patches, blocks of 15 and more;
          slowfast/models/{masked,head_helper,video_model_builder}.py and optimizer.py: no Gaussian window, a norm and a linear
          layer on block 11, learned positions, which are decayed as the class and mask tokens are
expected  fine-tuning 84.0 % top-1 after 1600 epochs (published, projects/maskfeat/README.md; not run here)
"""

_base_ = ["./_base_/pretrain.py"]

patch_size = 16
model = dict(
    type="MaskedImageModel",
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(
        type="VisionTransformer",
        arch="base",
        img_size=224,
        patch_size=patch_size,
        pos_embed="learned",
        weight_init="maskfeat",
    ),
    masking=dict(type="BlockMasking", patches=78, min_patches=15),
    encoding=dict(type="SubstitutedTokens"),
    decoders=[dict(type="LinearDecoder", init_std=0.02)],
    targets=[dict(type="HOGTarget", cell=8, nbins=9, patch_size=patch_size)],
    loss=dict(type="MaskedMSE"),
)
train_dataloader = dict(
    batch_size=256,
    dataset=dict(
        dataset=dict(
            pipeline=[
                dict(type="LoadRGB"),
                dict(type="RandomResizedCrop", size=224, scale=(0.5, 1.0), ratio=(0.75, 1.3333)),
                dict(type="RandomFlip", prob=0.5),
                dict(type="PackImages"),
            ]
        )
    ),
)
base_lr = 2e-4
optim_wrapper = dict(optimizer=dict(betas=(0.9, 0.999)), clip_grad=dict(max_norm=0.02))
# The first and last rate are those of 2048 images.
param_scheduler = [dict(type="WarmupCosine", warmup=30, start_lr=8e-6, min_lr=8e-6, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=300)
