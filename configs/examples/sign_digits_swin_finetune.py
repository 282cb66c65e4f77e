"""Fine-tuning on photographs of hands that show digits, of a small Swin, in 128 pixels.

COMMAND   mimeval transfer CKPT --suite configs/suites/sign_digits.py --tasks finetune --data DATA --out work_dirs/sign_digits_swin
hardware  CPU
sources   sign_digits_finetune.py; backbone: _base_/small_swin.py, its norm and groups: transfer/finetune_simmim_swinb.py
expected  docs/results.md, reproduced there
"""

_base_ = ["./sign_digits_finetune.py", "../_base_/small_swin.py"]

protocol = dict(name="finetune_sign_digits_swin")
size = 128
model = dict(backbone=dict(_base_.swin, _delete_=True, out_type="mean"), head=dict(in_channels=256))
crop = dict(type="RandomResizedCrop", size=size, scale=(0.6, 1.0), interpolation="bicubic")
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=[dict(type="LoadRGB"), crop, dict(type="PackImages")])))
val_dataloader = dict(
    dataset=dict(pipeline=[dict(type="LoadRGB"), dict(type="ResizeCenterCrop", size=size), dict(type="PackImages")])
)
