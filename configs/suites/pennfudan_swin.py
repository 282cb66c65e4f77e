"""Pedestrians in street photographs, for Swin checkpoints, e.g. of examples/localmim_swin_sign_digits.py.

COMMAND   mimeval transfer CKPT [CKPT ...] --suite configs/suites/pennfudan.py --data DATA --out work_dirs/pennfudan_swin
hardware  CPU
sources   each task's config
expected  docs/results.md, reproduced there
"""

_base_ = ["./pennfudan.py"]

swin = None
tasks = dict(detection=dict(config="../examples/pennfudan_swin_maskrcnn.py"))
