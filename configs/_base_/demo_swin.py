"""The Swin of every demo: two stages of 256 and 64 tokens, windows of 4 x 4, 0.1 M parameters. Pre-training and all five tasks read it here."""

swin = dict(
    type="mimeval.SwinTransformer",
    arch=dict(embed_dim=32, depths=(2, 2), num_heads=(2, 4)),
    img_size=32,
    patch_size=2,
    window_size=4,
)
