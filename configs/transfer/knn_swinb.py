"""k-NN with a Swin-B on ImageNet: DINO's weighted vote over the mean of the last stage's tokens after the norm; nothing is trained.

COMMAND   mimeval transfer CKPT --suite configs/suites/standard.py --tasks knn --data DATA --out work_dirs/swinb
hardware  one GPU, one forward pass over 1.28 M images; cost not measured here
sources   k 20, T 0.07 and the vote: knn_vitb.py; what is read: Swin's own classifier (2103.14030), which has no class token
expected  no figure is known of a masked image model with Swin-B (not run here)
"""

_base_ = ["./knn_vitb.py", "../_base_/frozen_swinb.py"]

protocol = dict(name="knn_dino_swin")
model = dict(
    backbone=dict(_base_.frozen_swinb, _delete_=True),
    neck=dict(tokens="pooled"),
)
