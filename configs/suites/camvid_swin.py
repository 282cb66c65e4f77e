"""Road scenes, eleven classes, for Swin checkpoints, e.g. of examples/localmim_swin_sign_digits.py.

COMMAND   mimeval transfer CKPT [CKPT ...] --suite configs/suites/camvid.py --data DATA --out work_dirs/camvid_swin
hardware  CPU
sources   each task's config
expected  docs/results.md, reproduced there
"""

_base_ = ["./camvid.py"]

swin = None
tasks = dict(segmentation=dict(config="../examples/camvid_swin_upernet.py"))
