"""The tasks at paper scale that have a recipe for a ViT-H/14 checkpoint: ImageNet below one data root.

COMMAND   mimeval transfer CKPT [CKPT ...] --suite configs/suites/standard_vith.py --data DATA --out work_dirs/standard_vith
hardware  see each task's config; cost not measured here
sources   each task's config names the official code of its constants
expected  each task's config; published figures, not run here
"""

data_root = "data/"
seeds = [0]
tasks = dict(
    knn=dict(config="../transfer/knn_vith.py"),
    linear=dict(config="../transfer/linear_vith.py"),
    finetune=dict(config="../transfer/finetune_vith.py"),
)
