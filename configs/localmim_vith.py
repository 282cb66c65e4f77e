"""LocalMIM, ViT-H/14, 800 epochs on ImageNet-1K (2303.05251), which the official code defines but cannot run.

COMMAND   tools/dist_train.sh configs/localmim_vith.py 8 --data DATA
hardware  8 GPUs x 128 images x 4 accumulated = batch 4096; cost not measured here
sources   official ViT/models_mim.py (mim_vit_huge_patch14; blocks 1, 3, 29, 31): it stops at a size error, since its HOG has cells of 4 to
          32 px for every patch; here cells follow the patch, 3.5 to 28 px. There is no official recipe: that of localmim_vitl.py
expected  no figure is known here (not run)
"""

_base_ = ["./localmim_vitl.py"]

patch_size = 14
model = dict(
    backbone=dict(arch="huge", patch_size=patch_size),
    targets=[dict(type="HOGTarget", cell=patch_size / scale, nbins=18, bias=True) for scale in (4, 2, 1, 0.5)],
)
