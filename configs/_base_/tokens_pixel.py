"""ClusterMIM's pixel tokenizer: 50 centres of patches of 16 px."""

tokenizer = dict(
    type="ClusterTokenizer", vectors=dict(type="PixelPatches", patch_size=16), num_centres=50, distance="euclid"
)
