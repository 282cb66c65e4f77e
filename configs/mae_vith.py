"""MAE, ViT-H/14, 800 epochs on ImageNet-1K (2111.06377).

COMMAND   tools/dist_train.sh configs/mae_vith.py 8 --data DATA
hardware  8 GPUs x 64 images x 8 accumulated = 4096 images a step; cost not measured here
sources   official code's models_mae.py (mae_vit_huge_patch14) and PRETRAIN.md; constants are those of mae_vitb.py
expected  fine-tuning 86.9 %, linear 77.2 % top-1 after 1600 epochs (published, the official PyTorch code; not run here)
"""

_base_ = ["./mae_vitb.py"]

patch_size = 14
model = dict(
    backbone=dict(arch="huge", patch_size=patch_size),
    targets=[dict(type="PixelTarget", patch_size=patch_size, norm_pix=True)],
)
