"""The five tasks at paper scale for a ViT-L/16 checkpoint: ImageNet, COCO and ADE20K below one data root.

COMMAND   mimeval transfer CKPT [CKPT ...] --suite configs/suites/standard_vitl.py --data DATA --out work_dirs/standard_vitl
hardware  see each task's config; cost not measured here
sources   each task's config names the official code of its constants
expected  each task's config; published figures, not run here
"""

data_root = "data/"
seeds = [0]
tasks = dict(
    knn=dict(config="../transfer/knn_vitl.py"),
    linear=dict(config="../transfer/linear_vitl.py"),
    finetune=dict(config="../transfer/finetune_vitl.py"),
    segmentation=dict(config="../transfer/upernet_vitl.py"),
    detection=dict(config="../transfer/maskrcnn_vitdet_vitl.py"),
)
