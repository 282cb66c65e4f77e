"""MAE's linear probe on the demo set with a Swin: the mean of the last stage's tokens after the final norm, BatchNorm, one linear layer.

COMMAND   mimeval transfer CKPT --suite configs/suites/demo_swin.py --tasks linear --data data/demo --out work_dirs/demo_swin
hardware  CPU, HARDWARE
sources   recipe: linear_demo.py
expected  no figure (not run here)
"""

_base_ = ["./linear_demo.py", "../_base_/demo_swin.py"]

protocol = dict(name="linear_mae_demo_swin")
width = 64  # of the last stage
model = dict(
    backbone=dict(_base_.swin, _delete_=True, out_type="mean", frozen=True),
    neck=dict(tokens="pooled", batch_norm=width),
    head=dict(in_channels=width),
)
