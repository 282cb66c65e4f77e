"""MTO's slot (2404.08330), a RECONSTRUCTION: its losses' form is docs/methods.md's, not the paper's, and no constant is published.

For orientation, measured here with the temperature below: E is 0.97 to 0.99 in a fresh MAE or SimMIM ViT-B, and 0.84 before, 0.74
after the decoder of checkpoints/emae_demo.safetensors.
"""

mask_token = dict(
    type="MaskTokenOptimization",
    w_spa=0.1,  # assumed: weight of what visible tokens aggregate from mask tokens
    w_e=0.1,  # assumed: weight of data singularity at the first block
    w_r=0.1,  # assumed: weight of the fall of heterogeneity with depth
    temperature=0.1,  # assumed: of cosines
    margin=0.01,  # assumed: by which each block is to lower heterogeneity
    early=0.25,  # assumed: the share of blocks that w_spa is about, from the first
    threshold=0.95,  # assumed: visible tokens do not look at mask tokens whose entropy is above it
)
