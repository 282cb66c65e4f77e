"""k-NN with a ViT-L on ImageNet: as knn_vitb.py.

COMMAND   mimeval transfer CKPT --suite SUITE --tasks knn --data DATA --out work_dirs/vitl, with this config in SUITE
hardware  one GPU, one forward pass over 1.28 M images; cost not measured here
sources   as knn_vitb.py
expected  no published figure with these settings is known (not run here)
"""

_base_ = ["./knn_vitb.py"]

model = dict(backbone=dict(arch="large", init_cfg=dict(checkpoint="checkpoints/mae_pretrain_vit_large.pth")))
