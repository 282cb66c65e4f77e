"""What the layouts of OpenMMLab's own ViT, BEiT, MAE and Swin have in common (mmpretrain, mmselfsup, mmseg, mmdet)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .architecture import Architecture, State
from .base import PRETRAINING
from .layouts import BUFFERS, ENDS_OF_OURS, Library, is_gated, with_heads
from .stored import backbone_config

OTHER_PART = "another part of the model"
Rows = tuple[tuple[str, str], ...]
# What stands beside a backbone in the models of these libraries, kept under its own name.
PARTS = (
    "neck",
    "head",
    "decode_head",
    "auxiliary_head",
    "rpn_head",
    "roi_head",
    "bbox_head",
    "target_generator",
    "momentum_encoder",
    "data_preprocessor",
)
EMBEDDINGS: Rows = (
    ("cls_token", "cls_token"),
    ("pos_embed", "pos_embed"),
    ("patch_embed.projection.*", "patch_embed.proj.*"),
)
MLP: Rows = (
    ("layers.#.ln2.*", "blocks.#.norm2.*"),
    ("layers.#.ffn.layers.0.0.*", "blocks.#.mlp.fc1.*"),
    ("layers.#.ffn.layers.1.*", "blocks.#.mlp.fc2.*"),
)
BLOCKS: Rows = (
    ("layers.#.ln1.*", "blocks.#.norm1.*"),
    ("layers.#.attn.qkv.*", "blocks.#.attn.qkv.*"),
    ("layers.#.attn.proj.*", "blocks.#.attn.proj.*"),
    *MLP,
)
BEIT_BLOCKS: Rows = (
    *BLOCKS,
    ("layers.#.attn.q_bias", "blocks.#.attn.q_bias"),
    ("layers.#.attn.v_bias", "blocks.#.attn.v_bias"),
    ("layers.#.attn.relative_*", "blocks.#.attn.relative_*"),
    ("layers.#.gamma_1", "blocks.#.ls1.gamma"),
    ("layers.#.gamma_2", "blocks.#.ls2.gamma"),
)


def backbone_rows(rows: Rows) -> Rows:
    """Rows of a backbone's names, below `backbone.` as in a whole model's file (which is written), or bare; and of its mask token."""
    named = (*((theirs, f"backbone.{ours}") for theirs, ours in rows), ("mask_token", "encoding.mask_token"))
    return tuple((f"{prefix}{theirs}", ours) for prefix in ("backbone.", "") for theirs, ours in named)


PART_ROWS: Rows = tuple((f"{part}.*", f"{part}.*") for part in PARTS)


class OpenMMLab(Library):
    """`state_dict` of a whole model, the backbone below `backbone.`; extracted backbones have bare names. The runner's config in `meta`
    tells heads and LayerNorm's epsilon (its norm_cfg without eps means mmcv's 1e-5)."""

    containers = ("state_dict", "", "model")
    may_leave: tuple[tuple[str, str], ...] = (
        *((f"{part}.*", OTHER_PART) for part in PARTS),
        ("*mask_token", PRETRAINING),
        *BUFFERS,
        *ENDS_OF_OURS,
    )
    foreign: tuple[str, ...] = ("neck.levels.*",)  # a pyramid of ours
    writable = True

    def architecture(self, own: State, meta: dict[str, Any]) -> Architecture:
        """As in Family."""
        architecture, config = super().architecture(own, meta), backbone_config(meta)
        norm = config.get("norm_cfg")
        if isinstance(norm, dict):
            architecture = replace(architecture, norm_eps=float(norm.get("eps", 1e-5)))
        arch = config.get("arch")
        return with_heads(architecture, arch.get("num_heads") if isinstance(arch, dict) else config.get("num_heads"))


def gated(state: State, own: State) -> State:
    """A written ViT with the names of a SwiGLU where the MLPs are of this kind."""
    if not is_gated(own):
        return state
    return {
        name.replace(".ffn.layers.0.0.", ".ffn.w12.").replace(".ffn.layers.1.", ".ffn.w3."): tensor
        for name, tensor in state.items()
    }
