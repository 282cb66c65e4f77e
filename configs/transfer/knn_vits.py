"""k-NN with a ViT-S on ImageNet: as knn_vitb.py.

COMMAND   mimeval transfer CKPT --suite configs/suites/standard_vits.py --tasks knn --data DATA --out work_dirs/standard_vits
hardware  one GPU, one forward pass over 1.28 M images; cost not measured here
sources   as knn_vitb.py; ViT-S/16 is the default of DINO's eval_knn.py
expected  74.5 for DINO ViT-S/16 (published, DINO's README.md, which does not say at which k; its eval_knn.py tries 10, 20, 100 and 200
          and calls 20 the best as a rule; not run here)
"""

_base_ = ["./knn_vitb.py"]

model = dict(backbone=dict(arch="small", init_cfg=dict(checkpoint="checkpoints/dino_deitsmall16_pretrain.pth")))
