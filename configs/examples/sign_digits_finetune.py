"""Fine-tuning on photographs of hands that show digits: your own image folders, in 64 pixels.

COMMAND   mimeval transfer CKPT --suite configs/suites/sign_digits.py --tasks finetune --data DATA --out work_dirs/sign_digits
hardware  CPU
sources   data: ardamavi/Sign-Language-Digits-Dataset below DATA/sign_digits, 1,644 training and 418 validation images;
          recipe: demo/finetune_demo.py; epochs set by hand, not searched
expected  docs/results.md, reproduced there
"""

_base_ = ["../demo/finetune_demo.py"]

protocol = dict(name="finetune_sign_digits")
size = 64
model = dict(backbone=dict(img_size=size))
crop = dict(type="RandomResizedCrop", size=size, scale=(0.6, 1.0), interpolation="bicubic")
train_dataloader = dict(
    dataset=dict(
        dataset=dict(folder="sign_digits/train", pipeline=[dict(type="LoadRGB"), crop, dict(type="PackImages")])
    )
)
val_dataloader = dict(
    batch_size=100,
    dataset=dict(
        folder="sign_digits/val",
        pipeline=[dict(type="LoadRGB"), dict(type="ResizeCenterCrop", size=size), dict(type="PackImages")],
    ),
)
param_scheduler = [dict(type="WarmupCosine", warmup=1, min_lr=1e-6, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=8, val_interval=8)
