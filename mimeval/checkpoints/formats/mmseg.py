"""Layouts of mmseg's VisionTransformer, MAE and BEiT, alone or in a segmentor."""

from __future__ import annotations

from dataclasses import dataclass

from .architecture import State, read_architecture
from .base import encoder_of
from .beit import TableIndex
from .library import ClassRow
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
NORM = ("ln1.*", "norm.*")
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


@dataclass(frozen=True)
class ScaleAndTables(Step):
    """mmseg's MAE always has layer scale and a table of relative biases in each block: ones and zeros are the same as none."""

    def read(self, state: State) -> str | None:
        return None

    def write(self, state: State) -> None:
        architecture = read_architecture(encoder_of(state))
        grid, heads = architecture.grid, getattr(architecture, "num_heads", None)
        for name in [name for name in state if name.startswith("backbone.blocks.") and name.endswith(".norm1.weight")]:
            block, ones = name.removesuffix("norm1.weight"), state[name]
            for branch in (1, 2):
                state.setdefault(f"{block}ls{branch}.gamma", ones.new_ones(len(ones)))
            if grid is not None and heads and "backbone.rel_pos_bias.relative_position_bias_table" not in state:
                rows = (2 * grid[0] - 1) * (2 * grid[1] - 1) + 3
                state.setdefault(f"{block}attn.relative_position_bias_table", ones.new_zeros(rows, heads))


class MMSegViT(OpenMMLab):
    """mmseg/models/backbones/vit.py: torch's MultiheadAttention, a patch embedding without bias by default; epsilon 1e-6 in all of its
    configs (_base_/models/upernet_vit-b16_ln_mln.py), though the class's own is 1e-5."""

    name = "mmseg_vit"
    group = library = "mmseg"
    signature = ("*layers.*.attn.attn.in_proj_weight", "*patch_embed.projection.weight", "*layers.*.ln1.weight")
    foreign = (*OpenMMLab.foreign, "*pre_norm.*", "*ln_pre.*", "*patch_embed.norm.*")
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
    facts = dict(pos_resample="bicubic")


class MMSegMAE(OpenMMLab):
    """mmseg/models/backbones/mae.py: layer scale, a table in each block, positions; no final norm unless asked for. Tables are resized
    geometrically (resize_rel_pos_embed), positions bicubically."""

    name = "mmseg_mae"
    group = library = "mmseg"
    signature = ("*layers.*.attn.qkv.bias", "*layers.*.attn.relative_position_bias_table", "*layers.*.ln1.weight")
    foreign = (*OpenMMLab.foreign, "*.q_bias")
    renames = (*backbone_rows((*EMBEDDINGS, *BEIT_BLOCKS, NORM)), *PYRAMID, *PART_ROWS)
    steps = (TableIndex(), ScaleAndTables(), ClassRow())
    facts = dict(pos_resample="bicubic", table_resample="geometric")


class MMSegBEiT(OpenMMLab):
    """mmseg/models/backbones/beit.py: as MAE, with biases of q and v only. With a norm at its end it is mmpretrain's in every name."""

    name = "mmseg_beit"
    group = library = "mmseg"
    signature = ("*layers.*.attn.q_bias", "*layers.*.attn.relative_position_bias_table", "*layers.*.ln1.weight")
    renames = (*backbone_rows((*EMBEDDINGS, *BEIT_BLOCKS)), *PYRAMID, *PART_ROWS)
    steps = (TableIndex(), QueryValueBias())
    facts = dict(k_bias=False, pos_resample="bicubic", table_resample="geometric")

    def recognises(self, state: State, container: str = "") -> bool:
        """As in Family; without a norm at its end."""
        return super().recognises(state, container) and not has_end(state)
