"""k-NN on photographs of hands that show digits, of a small Swin, in 128 pixels.

COMMAND   mimeval transfer CKPT --suite configs/suites/sign_digits.py --tasks knn --data DATA --out work_dirs/sign_digits_swin
hardware  CPU
sources   sign_digits_knn.py; backbone: _base_/small_swin.py
expected  docs/results.md, reproduced there
"""

_base_ = ["./sign_digits_knn.py", "../_base_/small_swin.py"]

protocol = dict(name="knn_sign_digits_swin")
size = 128
model = dict(
    backbone=dict(_base_.swin, _delete_=True, out_type="mean", frozen=True),
    neck=dict(tokens="pooled"),
)
pipeline = [dict(type="LoadRGB"), dict(type="ResizeCenterCrop", size=size), dict(type="PackImages")]
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=pipeline)))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
