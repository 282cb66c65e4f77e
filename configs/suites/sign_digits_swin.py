"""Classification of hands that show digits, for Swin checkpoints, e.g. of examples/localmim_swin_sign_digits.py.

COMMAND   mimeval transfer CKPT [CKPT ...] --suite configs/suites/sign_digits.py --data DATA --out work_dirs/sign_digits_swin
hardware  CPU
sources   each task's config
expected  docs/results.md, reproduced there
"""

_base_ = ["./sign_digits.py"]

swin = None
tasks = dict(
    knn=dict(config="../examples/sign_digits_swin_knn.py"),
    linear=dict(config="../examples/sign_digits_swin_linear.py"),
    finetune=dict(config="../examples/sign_digits_swin_finetune.py"),
)
