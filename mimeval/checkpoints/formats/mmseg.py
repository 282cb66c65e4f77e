"""Layouts of mmseg's VisionTransformer, MAE and BEiT, alone or in a segmentor."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .architecture import Architecture, State, ViT
from .beit import TableIndex
from .layouts import MAY_LACK, ClassRow
from .mmpretrain import has_end
from .openmmlab import BEIT_BLOCKS, EMBEDDINGS, MLP, PART_ROWS, OpenMMLab, backbone_rows
from .transform import QueryValueBias, Step

# Feature2Pyramid (models/necks/featurepyramid.py) as our TapPyramid.
PYRAMID = (
    ("neck.upsample_4x.0.*", "neck.levels.0.up.*"),
    ("neck.upsample_4x.1.*", "neck.levels.0.norm.*"),
    ("neck.upsample_4x.3.*", "neck.levels.0.up_again.*"),
    ("neck.upsample_2x.0.*", "neck.levels.1.*"),
)
FOREIGN = (*OpenMMLab.foreign, "*mask_token")  # nothing is pre-trained there
NORM = ("ln1.*", "norm.*")
TABLE = "relative_position_bias_table"
SHARED = f"backbone.rel_pos_bias.{TABLE}"
PATCHES = "backbone.patch_embed.proj"


@dataclass(frozen=True)
class PatchBias(Step):
    """A patch embedding may have no bias, which is one of zeros."""

    def read(self, state: State) -> str | None:
        weight = state.get(f"{PATCHES}.weight")
        if weight is None or f"{PATCHES}.bias" in state:
            return None
        state[f"{PATCHES}.bias"] = weight.new_zeros(len(weight))
        return f"{PATCHES}.bias added, zero"

    def write(self, state: State) -> None:
        bias = state.get(f"{PATCHES}.bias")
        if bias is not None and not bias.count_nonzero():
            del state[f"{PATCHES}.bias"]


class MMSegViT(OpenMMLab):
    """mmseg/models/backbones/vit.py: torch's MultiheadAttention, a patch embedding without bias by default; epsilon 1e-6 in all of its
    configs (_base_/models/upernet_vit-b16_ln_mln.py), though the class's own is 1e-5."""

    name = "mmseg_vit"
    group = package = "mmseg"
    may_lack = MAY_LACK
    signature = ("*layers.*.attn.attn.in_proj_weight", "*patch_embed.projection.weight", "*layers.*.ln1.weight")
    foreign = (*FOREIGN, "*pre_norm.*", "*ln_pre.*", "*patch_embed.norm.*")
    renames = (
        *backbone_rows(
            (
                *EMBEDDINGS,
                ("layers.#.ln1.*", "blocks.#.norm1.*"),
                ("layers.#.attn.attn.in_proj_weight", "blocks.#.attn.qkv.weight"),
                ("layers.#.attn.attn.in_proj_bias", "blocks.#.attn.qkv.bias"),
                ("layers.#.attn.attn.out_proj.*", "blocks.#.attn.proj.*"),
                *MLP,
                NORM,
            )
        ),
        *PYRAMID,
        *PART_ROWS,
    )
    steps = (PatchBias(), ClassRow())
    drops = ("backbone.fc_norm.*",)
    facts = dict(pos_resample="bicubic")


class MMSegMAE(OpenMMLab):
    """mmseg/models/backbones/mae.py: layer scale, a table in each block, positions. Tables are resized geometrically
    (resize_rel_pos_embed), positions bicubically. In the configs the backbone ends without norm."""

    name = "mmseg_mae"
    group = package = "mmseg"
    may_lack = MAY_LACK
    signature = (
        "*layers.*.attn.qkv.bias",
        "*layers.*.attn.relative_position_bias_table",
        "*layers.*.gamma_1",
        "*layers.*.ln1.weight",
        "*pos_embed",
    )
    foreign = (*FOREIGN, "*.q_bias")
    renames = (*backbone_rows((*EMBEDDINGS, *BEIT_BLOCKS, NORM)), *PYRAMID, *PART_ROWS)
    steps = (TableIndex(), ClassRow())
    drops = ("backbone.fc_norm.*",)
    facts = dict(pos_resample="bicubic", table_resample="geometric")

    def complete(self, own: State, architecture: Architecture) -> tuple[State, list[str]]:
        """As in Family: the class always has layer scale and tables; ones and zeros are the same as none."""
        own, notes = in_each_block(own)
        if not isinstance(architecture, ViT) or architecture.grid is None or not architecture.num_heads:
            return own, notes
        rows = (2 * architecture.grid[0] - 1) * (2 * architecture.grid[1] - 1) + 3
        norms = [name for name in own if name.startswith("backbone.blocks.") and name.endswith(".norm1.weight")]
        added: State = {}
        for name in norms:
            block, like = name.removesuffix("norm1.weight"), own[name]
            for branch in (1, 2):
                added[f"{block}ls{branch}.gamma"] = like.new_ones(len(like))
            added[f"{block}attn.{TABLE}"] = like.new_zeros(rows, architecture.num_heads)
        added = {name: tensor for name, tensor in added.items() if name not in own}
        notes += ["layer scale of ones and tables of zeros added, which change nothing"] if added else []
        return {**own, **added}, notes


class MMSegBEiT(OpenMMLab):
    """mmseg/models/backbones/beit.py: as MAE, with biases of q and v only. With a norm at its end it is mmpretrain's in every name."""

    name = "mmseg_beit"
    group = package = "mmseg"
    may_lack = MAY_LACK
    signature = ("*layers.*.attn.q_bias", "*layers.*.attn.relative_position_bias_table", "*layers.*.ln1.weight")
    foreign = (*FOREIGN, "neck.patch_aggregation.*")
    renames = (*backbone_rows((*EMBEDDINGS, *BEIT_BLOCKS, NORM)), *PYRAMID, *PART_ROWS)
    steps = (TableIndex(), QueryValueBias())
    drops = ("backbone.fc_norm.*",)
    facts = dict(k_bias=False, pos_resample="bicubic", table_resample="geometric")

    def recognises(self, state: State, container: str = "") -> bool:
        """As in Family; without a norm at its end."""
        return super().recognises(state, container) and not has_end(state)

    def complete(self, own: State, architecture: Architecture) -> tuple[State, list[str]]:
        """As in Family: a table in each block."""
        return in_each_block(own)


def in_each_block(own: State) -> tuple[State, list[str]]:
    """A shared table of relative biases copied into every block, as BEiT's own fine-tuning does."""
    shared = own.get(SHARED)
    if shared is None:
        return own, []
    blocks = [
        name.removesuffix("norm1.weight") for name in own if re.fullmatch(r"backbone\.blocks\.\d+\.norm1\.weight", name)
    ]
    kept = {name: tensor for name, tensor in own.items() if name != SHARED}
    copies = {f"{block}attn.{TABLE}": shared for block in blocks}
    return {**kept, **copies}, [f"the shared table of relative biases copied to {len(blocks)} blocks"]
