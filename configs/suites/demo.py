"""The five tasks on the demo set: a test of the whole pipe in minutes on 2 CPU cores, no benchmark.

COMMAND   mimeval transfer CKPT [CKPT ...] --suite configs/suites/demo.py --data data/demo --out work_dirs/demo
hardware  CPU, 182 s a row on one thread
sources   each task's config says what was chosen on a split carved from the training images, and what was set by hand
expected  see README.md, reproduced by tools/quickstart.sh
"""

data_root = "data/demo/"
swin = "demo_swin.py"  # for Swin checkpoints
seeds = [0]
tasks = dict(
    knn=dict(config="../demo/knn_demo.py"),
    linear=dict(config="../demo/linear_demo.py"),
    finetune=dict(config="../demo/finetune_demo.py"),
    detection=dict(config="../demo/detection_demo.py"),
    segmentation=dict(config="../demo/segmentation_demo.py"),
)
