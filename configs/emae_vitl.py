"""EMAE, ViT-L/16, 300 epochs on ImageNet-1K (2302.14431).

COMMAND   tools/dist_train.sh configs/emae_vitl.py 8 --data DATA
hardware  8 GPUs x 64 images x 8 accumulated = 4096 images a step, K = 4 parts each; cost not measured here
sources   those of emae_vitb.py; the paper's "13 % of MAE's pre-training time" on ViT-L is not reproduced: its epochs are unknown
expected  no figure is known here (not run)
"""

_base_ = ["./emae_vitb.py"]

model = dict(backbone=dict(arch="large"))
