"""Pedestrians in street photographs, boxes and masks: a small real set, in your own folders.

COMMAND   mimeval transfer CKPT [CKPT ...] --suite configs/suites/pennfudan.py --data DATA --out work_dirs/pennfudan
hardware  CPU
sources   the task's config
expected  docs/results.md, reproduced there
"""

data_root = "data/"
swin = "pennfudan_swin.py"  # for Swin checkpoints
seeds = [0, 1]
tasks = dict(detection=dict(config="../examples/pennfudan_maskrcnn.py"))
