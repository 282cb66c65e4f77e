"""MTO on SimMIM, ViT-B/16, 800 epochs on ImageNet-1K (2404.08330). EXPERIMENTAL: a reconstruction, not the paper's method.

COMMAND   tools/dist_train.sh configs/mto_simmim_vitb.py 8 --data DATA
hardware  8 GPUs x 128 images x 2 accumulated = batch 2048; cost not measured here
sources   slot: docs/methods.md, every constant assumed (_base_/mto.py); all else: the host's, simmim_vitb.py
expected  no figure is known here (not run); the paper's own could not be read and need not be those of this reconstruction
"""

_base_ = ["./simmim_vitb.py", "./_base_/mto.py"]

model = dict(mask_token=_base_.mask_token)
