"""k-NN on the demo set with a Swin: DINO's vote over the mean of the last stage's tokens after the final norm.

COMMAND   mimeval transfer CKPT --suite configs/suites/demo_swin.py --tasks knn --data data/demo --out work_dirs/demo_swin
hardware  CPU, 25 s a row on one thread of a busy machine
sources   recipe: knn_demo.py
expected  17.6 at random, 16.0 after simmim_swin_demo.py (reproduced here, one seed; nothing was tuned)
"""

_base_ = ["./knn_demo.py", "../_base_/demo_swin.py"]

protocol = dict(name="knn_dino_demo_swin")
model = dict(
    backbone=dict(_base_.swin, _delete_=True, out_type="mean", frozen=True),
    neck=dict(tokens="pooled"),
)
