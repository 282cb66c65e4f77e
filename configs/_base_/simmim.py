"""SimMIM's pre-training (2111.09886; official config.py, data/data_simmim.py, main_simmim.py): 192 pixels, 800 epochs."""

_base_ = ["./pretrain.py"]

model = dict(
    type="MaskedImageModel",
    data_preprocessor=_base_.data_preprocessor,
    masking=dict(type="RandomMasking", ratio=0.6, unit=32),
    encoding=dict(type="SubstitutedTokens"),
    decoders=[dict(type="LinearDecoder")],
    loss=dict(type="MaskedL1"),
)
train_dataloader = dict(
    batch_size=128,
    dataset=dict(
        dataset=dict(
            pipeline=[
                dict(type="LoadRGB"),
                # torchvision's default: bilinear.
                dict(type="RandomResizedCrop", size=192, scale=(0.67, 1.0), interpolation="bilinear"),
                dict(type="RandomFlip", prob=0.5),
                dict(type="PackImages"),
            ]
        )
    ),
)
# 1e-4 for 512 images.
base_lr = 0.5e-4
optim_wrapper = dict(accumulative_counts=2, optimizer=dict(betas=(0.9, 0.999)), clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type="TimmMultiStep", warmup=10, start_ratio=5e-3, milestones=[700], convert_to_iter_based=True)
]
