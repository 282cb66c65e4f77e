"""Classification of hands that show digits: a small real set, in your own folders.

COMMAND   mimeval transfer CKPT [CKPT ...] --suite configs/suites/sign_digits.py --data DATA --out work_dirs/sign_digits
hardware  CPU
sources   each task's config
expected  docs/results.md, reproduced there
"""

data_root = "data/"
swin = "sign_digits_swin.py"  # for Swin checkpoints
seeds = [0, 1]
tasks = dict(
    knn=dict(config="../examples/sign_digits_knn.py"),
    linear=dict(config="../examples/sign_digits_linear.py"),
    finetune=dict(config="../examples/sign_digits_finetune.py"),
)
