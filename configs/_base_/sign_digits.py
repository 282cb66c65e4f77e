"""Pre-training on photographs of hands that show digits (ardamavi/Sign-Language-Digits-Dataset), 1,644 images in 32 pixels."""

_base_ = ["./pretrain.py", "./demo_vit.py"]

size = 32
model = dict(type="MaskedImageModel", data_preprocessor=_base_.data_preprocessor, backbone=_base_.backbone)
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    dataset=dict(
        dataset=dict(
            folder="sign_digits/train",
            pipeline=[
                dict(type="LoadRGB"),
                dict(type="RandomResizedCrop", size=size, scale=(0.4, 1.0), interpolation="bicubic"),
                dict(type="PackImages"),
            ],
        )
    ),
)
base_lr = 0.012  # 1.5e-3 at 32 images
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
param_scheduler = [dict(type="WarmupCosine", warmup=2, min_lr=0.0, convert_to_iter_based=True)]
