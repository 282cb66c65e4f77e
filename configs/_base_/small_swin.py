"""A Swin of 2.3 M parameters for small sets on a CPU: maps at strides 4 to 32, windows of 4 x 4 tokens."""

swin = dict(
    type="mimeval.SwinTransformer",
    arch=dict(embed_dim=32, depths=(2, 2, 4, 2), num_heads=(1, 2, 4, 8)),
    img_size=128,
    window_size=4,
)
