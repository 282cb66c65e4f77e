"""The five tasks at paper scale for a ViT-B/16 checkpoint: ImageNet, COCO and ADE20K below one data root.

COMMAND   mimeval transfer CKPT [CKPT ...] --suite configs/suites/standard.py --data DATA --out work_dirs/standard
hardware  see each task's config; cost not measured here
sources   each task's config names the official code of its constants
expected  each task's config; published figures, not run here
"""

data_root = "data/"
swin = "standard_swin.py"  # for Swin checkpoints
seeds = [0]
tasks = dict(
    knn=dict(config="../transfer/knn_vitb.py"),
    linear=dict(config="../transfer/linear_vitb.py"),
    finetune=dict(config="../transfer/finetune_vitb.py"),
    segmentation=dict(config="../transfer/upernet_vitb.py"),
    detection=dict(config="../transfer/maskrcnn_vitdet_vitb.py"),
)
