"""Pixel tokens of another scale, for combined_vitb.py: 50 centres of 32-px patches, mini-batch K-means on ImageNet.

COMMAND   mimeval tokenize fit configs/tokenizers/pixel_32.py --out checkpoints/tokens_pixel_32.safetensors --data DATA
hardware  CPU; reads every image 101 times (100 epochs and a count); cost not measured here
sources   as pixel.py, with patches of 32 px (ours: the official code has those of 16 px only)
expected  not run here
"""

_base_ = ["./pixel.py"]

tokenizer = dict(vectors=dict(patch_size=32))
