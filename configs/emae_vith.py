"""EMAE, ViT-H/14, 300 epochs on ImageNet-1K (2302.14431).

COMMAND   tools/dist_train.sh configs/emae_vith.py 8 --data DATA
hardware  8 GPUs x 64 images x 8 accumulated = 4096 images a step, K = 4 parts each; cost not measured here
sources   those of emae_vitb.py and mae_vith.py
expected  no figure is known here (not run)
"""

_base_ = ["./emae_vitb.py"]

patch_size = 14
model = dict(
    backbone=dict(arch="huge", patch_size=patch_size),
    targets=[dict(type="PixelTarget", patch_size=patch_size, norm_pix=True)],
)
