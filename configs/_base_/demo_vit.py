"""The backbone of every demo: 64 patches of 4 px, 0.2 M parameters. Pre-training and all five tasks read it here."""

backbone = dict(
    type="mimeval.VisionTransformer", arch=dict(embed_dim=64, depth=4, num_heads=4), img_size=32, patch_size=4
)
