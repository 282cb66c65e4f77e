"""MAE's linear probe on the demo set with a Swin: the mean of the last stage's tokens after the final norm, BatchNorm, one linear layer.

COMMAND   mimeval transfer CKPT --suite configs/suites/demo_swin.py --tasks linear --data data/demo --out work_dirs/demo_swin
hardware  CPU, 35 s a row on one thread of a busy machine
sources   recipe: linear_demo.py
expected  23.5 at random, 26.5 after simmim_swin_demo.py (reproduced here, one seed; nothing was tuned)
"""

_base_ = ["./linear_demo.py", "../_base_/demo_swin.py"]

protocol = dict(name="linear_mae_demo_swin")
width = 64  # of the last stage
model = dict(
    backbone=dict(_base_.swin, _delete_=True, out_type="mean", frozen=True),
    neck=dict(tokens="pooled", batch_norm=width),
    head=dict(in_channels=width),
)
