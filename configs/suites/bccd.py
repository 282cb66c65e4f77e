"""Cells in blood smears, boxes only: a small real set, in your own folders.

COMMAND   mimeval transfer CKPT [CKPT ...] --suite configs/suites/bccd.py --data DATA --out work_dirs/bccd
hardware  CPU
sources   the task's config
expected  docs/results.md, reproduced there
"""

data_root = "data/"
seeds = [0, 1]
tasks = dict(detection=dict(config="../examples/bccd_boxes.py"))
