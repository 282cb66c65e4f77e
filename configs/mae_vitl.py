"""MAE, ViT-L/16, 800 epochs on ImageNet-1K (2111.06377).

COMMAND   tools/dist_train.sh configs/mae_vitl.py 8 --data DATA
hardware  8 GPUs x 64 images x 8 accumulated = 4096 images a step; published: about 42 h on 64 V100 for 800 epochs
sources   official code's PRETRAIN.md; constants are those of mae_vitb.py
expected  fine-tuning 85.9 %, linear 75.8 % top-1 after 1600 epochs (published; not run here)
"""

_base_ = ["./mae_vitb.py"]

model = dict(backbone=dict(arch="large"))
