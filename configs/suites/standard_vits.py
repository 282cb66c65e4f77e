"""The five tasks at paper scale for a ViT-S/16 checkpoint: ImageNet, COCO and ADE20K below one data root.

COMMAND   mimeval transfer CKPT [CKPT ...] --suite configs/suites/standard_vits.py --data DATA --out work_dirs/standard_vits
hardware  see each task's config; cost not measured here
sources   each task's config names the official code of its constants
expected  each task's config; published figures, not run here
"""

data_root = "data/"
seeds = [0]
tasks = dict(
    knn=dict(config="../transfer/knn_vits.py"),
    linear=dict(config="../transfer/linear_vits.py"),
    finetune=dict(config="../transfer/finetune_vits.py"),
    segmentation=dict(config="../transfer/upernet_vits.py"),
    detection=dict(config="../transfer/maskrcnn_vitdet_vits.py"),
)
