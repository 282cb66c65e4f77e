"""Layouts of the Swin Transformers of mmpretrain, mmseg and mmdet, which have one implementation and different norms."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from .architecture import State, numbers
from .layouts import check_one_window
from .openmmlab import PART_ROWS, OpenMMLab, backbone_rows
from .transform import MergingOrder, Step

TABLE, INDEX = "relative_position_bias_table", "relative_position_index"
ROWS = (
    ("patch_embed.projection.*", "patch_embed.proj.*"),
    ("patch_embed.norm.*", "patch_embed.norm.*"),
    ("stages.#.blocks.#.norm1.*", "layers.#.blocks.#.norm1.*"),
    ("stages.#.blocks.#.attn.w_msa.*", "layers.#.blocks.#.attn.*"),
    ("stages.#.blocks.#.norm2.*", "layers.#.blocks.#.norm2.*"),
    ("stages.#.blocks.#.ffn.layers.0.0.*", "layers.#.blocks.#.mlp.fc1.*"),
    ("stages.#.blocks.#.ffn.layers.1.*", "layers.#.blocks.#.mlp.fc2.*"),
    *((f"stages.{s}.downsample.*", f"layers.{s + 1}.downsample.*") for s in range(3)),
    ("norm#.*", "stage_norms.#.*"),
    ("norm.*", "norm.*"),
)


@dataclass(frozen=True)
class WindowIndex(Step):
    """Beside each table of a window's biases its index [area, area], int64, which is computed from the window alone."""

    def read(self, state: State) -> str | None:
        for name in [name for name in state if name.endswith(INDEX)]:
            del state[name]
        return None

    def write(self, state: State) -> None:
        for name in [name for name in state if name.endswith(TABLE)]:
            state[name.removesuffix(TABLE) + INDEX] = window_index((math.isqrt(len(state[name])) + 1) // 2)


def window_index(side: int) -> Tensor:
    """Row of the table for each (query, key) pair of a square window, int64 [side^2, side^2]."""
    place = torch.arange(side**2)
    rows, columns = place // side, place % side
    return (rows[:, None] - rows + side - 1) * (2 * side - 1) + (columns[:, None] - columns + side - 1)


@dataclass(frozen=True)
class StageNorms(Step):
    """A norm for each stage that is an output: of the last stage alone it is `norm` here, of several they are the norms of taps."""

    def read(self, state: State) -> str | None:
        stages = sorted(numbers(state, r"backbone\.stage_norms\.(\d+)\."))
        last = max(numbers(state, r"backbone\.layers\.(\d+)\."), default=None)
        for tap, stage in enumerate(stages):
            new = "norm" if stages == [last] else f"tap_norms.{tap}"
            for kind in ("weight", "bias"):
                name = f"backbone.stage_norms.{stage}.{kind}"
                if name in state:
                    state[f"backbone.{new}.{kind}"] = state.pop(name)
        return None

    def write(self, state: State) -> None:
        last = max(numbers(state, r"backbone\.layers\.(\d+)\."), default=0)
        taps = len(numbers(state, r"backbone\.tap_norms\.(\d+)\."))
        for name in [name for name in state if re.match(r"backbone\.(norm|tap_norms\.\d+)\.", name)]:
            parts = name.split(".")
            stage = last if parts[1] == "norm" else int(parts[2]) + last + 1 - taps
            state[f"backbone.stage_norms.{stage}.{parts[-1]}"] = state.pop(name)


class MMSwin(OpenMMLab):
    """Patch merging unfolds: all four values of a channel lie together, in the order (0,0), (0,1), (1,0), (1,1)."""

    signature = ("*stages.*.blocks.*.attn.w_msa.qkv.weight", "*stages.*.blocks.*.norm1.weight")
    foreign = (*OpenMMLab.foreign, "*.logit_scale", "*absolute_pos_embed")
    renames = (*backbone_rows(ROWS), *PART_ROWS)
    steps = (MergingOrder(channels_first=True), WindowIndex(), StageNorms())

    def write(self, own: State) -> tuple[State, list[str]]:
        """As in Family. UserError for windows of several sizes."""
        check_one_window(own)
        return super().write(own)


class MMPretrainSwin(MMSwin):
    """mmpretrain/models/backbones/swin_transformer.py: one norm, of the last stage (`norm3`), as for classification. Tables are resized
    geometrically, at loading."""

    name = "mmpretrain_swin"
    group = package = "mmpretrain"
    facts = dict(table_resample="geometric")

    def recognises(self, state: State, container: str = "") -> bool:
        """As in Family; with one norm at most."""
        return super().recognises(state, container) and len(stage_norms(state)) <= 1


class MMSegSwin(MMSwin):
    """mmseg/models/backbones/swin.py, and mmdet's: a norm for each output, which are the norms of taps here. Tables are resized
    bicubically, at loading."""

    name = "mmseg_swin"
    group = package = "mmseg"
    foreign = (*MMSwin.foreign, "*mask_token")
    takes_taps = True
    facts = dict(table_resample="bicubic")

    def recognises(self, state: State, container: str = "") -> bool:
        """As in Family; with several norms."""
        return super().recognises(state, container) and len(stage_norms(state)) > 1


def stage_norms(state: State) -> set[int]:
    return numbers(state, r"(?:backbone\.)?norm(\d+)\.")
