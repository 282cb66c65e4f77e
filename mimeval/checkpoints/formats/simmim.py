"""Checkpoints of microsoft/SimMIM, pre-trained: a ViT with one table of relative biases, or a Swin (methods.md 5.2, 6)."""

from .base import BUFFER, PRETRAINING, Family
from .mae import ENDS
from .transform import PixelShuffleHead, QueryValueBias

# Swin's patch merging stands at the end of a stage there, at the start of the next one in timm.
SWIN = (
    ("encoder.layers.0.downsample.*", "backbone.layers.1.downsample.*"),
    ("encoder.layers.1.downsample.*", "backbone.layers.2.downsample.*"),
    ("encoder.layers.2.downsample.*", "backbone.layers.3.downsample.*"),
    ("encoder.layers.*", "backbone.layers.*"),
)


class SimMIM(Family):
    """`model` in a `.pth`, the encoder under `encoder.`. Its own fine-tuning resizes all tables geometrically (utils.py)."""

    name = "simmim"
    containers = ("model", "state_dict", "")
    signature = ("encoder.mask_token", "encoder.norm.weight")
    renames = (
        ("encoder.mask_token", "encoding.mask_token"),
        ("encoder.cls_token", "backbone.cls_token"),
        ("encoder.patch_embed.*", "backbone.patch_embed.*"),
        ("encoder.rel_pos_bias.*", "backbone.rel_pos_bias.*"),
        ("encoder.blocks.#.gamma_1", "backbone.blocks.#.ls1.gamma"),
        ("encoder.blocks.#.gamma_2", "backbone.blocks.#.ls2.gamma"),
        ("encoder.blocks.*", "backbone.blocks.*"),
        *SWIN,
        ("encoder.norm.*", "backbone.norm.*"),
        ("decoder.0.*", "decoders.0.pred.*"),
    )
    steps = (QueryValueBias(), PixelShuffleHead())
    may_leave = (
        ("encoding.mask_token", PRETRAINING),
        ("decoders.0.pred.*", PRETRAINING),
        *((f"backbone.{pattern}", reason) for pattern, reason in ENDS),
        ("*relative_position_index", BUFFER),
        ("*attn_mask", BUFFER),
    )
    facts = dict(k_bias=False, table_resample="geometric")
    writable = True
