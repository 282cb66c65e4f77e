"""ClusterMIM with pixel tokens, ViT-S/16, 200 epochs (2407.09087).

COMMAND   tools/dist_train.sh configs/clustermim_pixel_vits.py 8 --data DATA
hardware  8 GPUs x 64 images x 8 accumulated = 4096 images a step; cost not measured here
sources   official models_mae.py: decoder of 256 and 8 heads beside ViT-S; the rest: clustermim_pixel_vitb.py
expected  not run here; the paper's figures for ViT-S (on ImageNet-100) could not be read
"""

_base_ = ["./clustermim_pixel_vitb.py"]

model = dict(backbone=dict(arch="small"), decoders=[dict(type="MAEDecoder", embed_dim=256, depth=8, num_heads=8)])
