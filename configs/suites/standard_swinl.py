"""The tasks at paper scale that have a recipe for a Swin-L checkpoint: ImageNet and ADE20K below one data root.

COMMAND   mimeval transfer CKPT [CKPT ...] --suite configs/suites/standard_swinl.py --data DATA --out work_dirs/standard_swinl
hardware  see each task's config; cost not measured here
sources   each task's config names the official code of its constants
expected  each task's config; published figures, not run here
"""

data_root = "data/"
seeds = [0]
tasks = dict(
    finetune=dict(config="../transfer/finetune_simmim_swinl.py"),
    segmentation=dict(config="../transfer/upernet_swinl.py"),
)
