"""k-NN with a ViT-H/14 on ImageNet: as knn_vitb.py.

COMMAND   mimeval transfer CKPT --suite configs/suites/standard_vith.py --tasks knn --data DATA --out work_dirs/standard_vith
hardware  one GPU, one forward pass over 1.28 M images; cost not measured here
sources   as knn_vitb.py
expected  no published figure with these settings is known (not run here)
"""

_base_ = ["./knn_vitb.py"]

model = dict(
    backbone=dict(arch="huge", patch_size=14, init_cfg=dict(checkpoint="checkpoints/mae_pretrain_vit_huge.pth"))
)
