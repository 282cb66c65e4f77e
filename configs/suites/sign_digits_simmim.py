"""Classification of hands that show digits, for checkpoints of examples/simmim_sign_digits.py: backbones without absolute positions.

COMMAND   mimeval transfer CKPT [CKPT ...] --suite configs/suites/sign_digits_simmim.py --data DATA --out work_dirs/sign_digits_simmim
hardware  CPU
sources   each task's config
expected  docs/results.md, reproduced there
"""

_base_ = ["./sign_digits.py"]

tasks = dict(
    knn=dict(config="../examples/sign_digits_simmim_knn.py"),
    linear=dict(config="../examples/sign_digits_simmim_linear.py"),
    finetune=dict(config="../examples/sign_digits_simmim_finetune.py"),
)
