"""Linear probe on photographs of hands that show digits, in 64 pixels.

COMMAND   mimeval transfer CKPT --suite configs/suites/sign_digits.py --tasks linear --data DATA --out work_dirs/sign_digits
hardware  CPU
sources   data: sign_digits_finetune.py; recipe: demo/linear_demo.py
expected  docs/results.md, reproduced there
"""

_base_ = ["../demo/linear_demo.py"]

protocol = dict(name="linear_sign_digits")
size = 64
model = dict(backbone=dict(img_size=size))
pipeline = [dict(type="LoadRGB"), dict(type="ResizeCenterCrop", size=size), dict(type="PackImages")]
train_dataloader = dict(dataset=dict(dataset=dict(folder="sign_digits/train", pipeline=pipeline)))
val_dataloader = dict(batch_size=100, dataset=dict(folder="sign_digits/val", pipeline=pipeline))
