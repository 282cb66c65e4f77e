"""The five tasks on the demo set for a Swin checkpoint, e.g. of configs/demo/simmim_swin_demo.py: a test of the whole pipe.

COMMAND   mimeval transfer CKPT [CKPT ...] --suite configs/suites/demo.py --data data/demo --out work_dirs/demo_swin
hardware  CPU, 14 min a row on one thread of a busy machine
sources   each task's config
expected  each task's config; this pre-training is too short to help dense tasks
"""

_base_ = ["./demo.py"]

swin = None
tasks = dict(
    knn=dict(config="../demo/knn_demo_swin.py"),
    linear=dict(config="../demo/linear_demo_swin.py"),
    finetune=dict(config="../demo/finetune_demo_swin.py"),
    detection=dict(config="../demo/detection_demo_swin.py"),
    segmentation=dict(config="../demo/segmentation_demo_swin.py"),
)
