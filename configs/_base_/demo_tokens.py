"""Pixel tokens of the demo set: 32 centres of its patches of 4 px."""

tokenizer = dict(
    type="ClusterTokenizer", vectors=dict(type="PixelPatches", patch_size=4), num_centres=32, distance="euclid"
)
