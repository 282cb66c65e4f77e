"""Road scenes, eleven classes: a small real set, in your own folders.

COMMAND   mimeval transfer CKPT [CKPT ...] --suite configs/suites/camvid.py --data DATA --out work_dirs/camvid
hardware  CPU
sources   the task's config
expected  docs/results.md, reproduced there
"""

data_root = "data/"
swin = "camvid_swin.py"  # for Swin checkpoints
seeds = [0, 1]
tasks = dict(segmentation=dict(config="../examples/camvid_upernet.py"))
