"""EMAE on the demo set, about three minutes on a CPU core: the live pre-training of tools/quickstart.sh.

COMMAND   mimeval data demo data/demo && mimeval train configs/demo/emae_demo.py --data data/demo
hardware  CPU; 2 min 54 s measured on two cores of an AMD EPYC, quiet
sources   chosen on a split carved from the demo set's training images (checkpoints/README.md)
expected  see README.md, reproduced by tools/quickstart.sh
"""

_base_ = ["../_base_/pretrain.py", "../_base_/demo_vit.py"]

model = dict(
    type="MaskedImageModel",
    data_preprocessor=_base_.data_preprocessor,
    backbone=_base_.backbone,
    masking=dict(type="ParallelMasking", parts=4),
    decoders=[dict(type="MAEDecoder", embed_dim=48, depth=1, num_heads=2)],
    targets=[dict(type="PixelTarget", patch_size=_base_.backbone.patch_size, norm_pix=True)],
    loss=dict(type="MaskedMSE"),
    # At weight 1 agreement is cheapest by predicting the mean, and these minutes end before strokes are learned.
    regularizers=[dict(type="SelfConsistency", weight=0.1)],
)
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    dataset=dict(
        dataset=dict(
            pipeline=[
                dict(type="LoadRGB"),
                # No flip: a mirrored digit is another one.
                dict(type="RandomResizedCrop", size=32, scale=(0.6, 1.0), ratio=(0.9, 1.1), interpolation="bilinear"),
                dict(type="PackImages"),
            ]
        )
    ),
)
base_lr = 0.024  # 3e-3 at 32 images
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
epochs = 6
param_scheduler = [dict(type="WarmupCosine", warmup=0.05 * epochs, min_lr=0.0, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=epochs)
custom_hooks = [dict(type="ReconstructionHook", interval=2)]
