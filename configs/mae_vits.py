"""MAE, ViT-S/16, 800 epochs on ImageNet-1K (2111.06377), which has no ViT-S of its own.

COMMAND   tools/dist_train.sh configs/mae_vits.py 8 --data DATA
hardware  8 GPUs x 64 images x 8 accumulated = 4096 images a step; cost not measured here
sources   official ClusterMIM models_mae.py: decoder of 256 and 8 heads beside ViT-S; constants are those of mae_vitb.py
expected  no figure is known here (not run)
"""

_base_ = ["./mae_vitb.py"]

model = dict(backbone=dict(arch="small"), decoders=[dict(type="MAEDecoder", embed_dim=256, depth=8, num_heads=8)])
