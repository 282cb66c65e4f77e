"""The five tasks at paper scale for a Swin-B checkpoint: ImageNet, COCO and ADE20K below one data root.

COMMAND   mimeval transfer CKPT [CKPT ...] --suite configs/suites/standard.py --data DATA --out work_dirs/swinb
hardware  see each task's config; cost not measured here
sources   each task's config names the official code of its constants
expected  each task's config; published figures, not run here
"""

_base_ = ["./standard.py"]

swin = None
tasks = dict(
    knn=dict(config="../transfer/knn_swinb.py"),
    linear=dict(config="../transfer/linear_swinb.py"),
    finetune=dict(config="../transfer/finetune_simmim_swinb.py"),
    segmentation=dict(config="../transfer/upernet_swinb.py"),
    detection=dict(config="../transfer/maskrcnn_swinb.py"),
)
