"""Checkpoints of baaivision/EVA's EVA-02 (EVA-02/asuka), pre-trained and fine-tuned, and timm's of the same network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mimeval.errors import UserError

from .architecture import Grid, State, table_grid
from .base import PRETRAINING, Family
from .layouts import ENDS_OF_OURS
from .mae import ENDS
from .timm import Timm, drop_head
from .transform import JoinGate, JoinQKV, QueryValueBias, Step

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
GRID, COS, SIN = "backbone.rotation.grid", "rotation.freqs_cos", "rotation.freqs_sin"
INNER_NORM = "backbone.blocks.0.mlp.norm.weight"
# All EVA-02 were pre-trained on images of 224 pixels in patches of 14, whatever size they were tuned at.
PATCH, TRAINED = 14, (16, 16)
NAMES = ("cls_token", "pos_embed", "patch_embed.proj.*", "norm.*", "fc_norm.*")
# A SwiGLU of layers of its own: as Meta's and BAAI's code call them, and timm.
GATES = (
    ("blocks.#.mlp.w1.*", "backbone.blocks.#.mlp.gate.*"),
    ("blocks.#.mlp.w2.*", "backbone.blocks.#.mlp.value.*"),
    ("blocks.#.mlp.w3.*", "backbone.blocks.#.mlp.fc2.*"),
)
TIMM_GATES = (
    ("blocks.#.mlp.fc1_g.*", "backbone.blocks.#.mlp.gate.*"),
    ("blocks.#.mlp.fc1_x.*", "backbone.blocks.#.mlp.value.*"),
)


@dataclass(frozen=True)
class RotationGrid(Step):
    """The rotation's own buffers, cosines and sines of every place [h * w, head width] -> the grid that its angles count on.

    timm's files have none, and none has a place for the grid: it is then the one of all published models, or of the positions.
    """

    def read(self, state: State) -> str | None:
        copies = [name for name in state if name.startswith("rotation.")]
        cos, sin = state.get(COS), state.get(SIN)
        for name in copies:
            del state[name]
        if cos is None or sin is None:
            grid = usual_grid(state)
            how = "by convention"
        else:
            grid = grid_of_angles(cos, sin, places(state))
            how = f"read from {len(copies)} buffers, which are computed anew"
        state[GRID] = torch.tensor(grid, dtype=torch.float32)
        return f"rotation counts on {grid[0]}x{grid[1]} places, {how}"

    def write(self, state: State) -> None:
        grid, usual = tuple(int(side) for side in state.pop(GRID)), usual_grid(state)
        if grid != usual:
            raise UserError(
                f"its rotation counts on {grid[0]}x{grid[1]} places, which files of this format do not say; expected "
                f"{usual[0]}x{usual[1]}; convert to mimeval instead."
            )


def places(state: State) -> Grid:
    """The grid of the positions. UserError where they are on none."""
    grid = table_grid(state.get("backbone.pos_embed"), None)
    if grid is None:
        raise UserError(
            "its positions are on no square grid, so that the rotation's cannot be told; get the whole file."
        )
    return grid


def usual_grid(state: State) -> Grid:
    """The grid that a rotation without buffers counts on; UserError where it cannot be told."""
    here, patch = places(state), state.get("backbone.patch_embed.proj.weight")
    return TRAINED if patch is not None and patch.shape[-1] == PATCH else here


def grid_of_angles(cos: Tensor, sin: Tensor, here: Grid) -> Grid:
    """The grid on which angles count, of the tables of a grid `here`: its second row, and its second column, turn by trained / here.

    The fastest pair of channels turns by 1 for each row (first half) or column (second half). UserError for other tables.
    """
    found = []
    for axis, (place, channel) in enumerate(((here[1], 0), (1, cos.shape[1] // 2))):
        if here[axis] == 1:
            found.append(1)
            continue
        if cos.shape != sin.shape or len(cos) != here[0] * here[1]:
            raise UserError(f"its rotation has tables {list(cos.shape)}, expected {here[0] * here[1]} places.")
        side = math.atan2(float(sin[place, channel]), float(cos[place, channel])) * here[axis]
        if not round(side) >= 1 or abs(side - round(side)) > 0.05:
            raise UserError(
                f"its rotation turns by {side / here[axis]:.3g} from one patch to the next, which no whole grid does."
            )
        found.append(round(side))
    return found[0], found[1]


STEPS = (JoinQKV(k_bias=False), QueryValueBias(), JoinGate(), RotationGrid())
# Base and large have a norm within the MLP and four layers apart; tiny and small have them joined.
APART, JOINED = (JoinQKV(k_bias=False), JoinGate(), RotationGrid()), (QueryValueBias(), RotationGrid())


class EVA02(Family):
    """`model` in a `.pt`; base and large: q, k and v apart, and a norm within the MLP; tiny and small: qkv, w12 packed, no such norm.
    Pre-trained: `mask_token` and `lm_head`; fine-tuned: `fc_norm` and `head`, no `norm` (modeling_pretrain.py, modeling_finetune.py).

    Its fine-tuning resizes positions bicubically, leaves the rotation's angles as they are, and starts a new fc_norm.
    """

    name = "eva02"
    containers = ("model", "module", "state_dict", "")
    signature = ("pos_embed", "blocks.*.attn.q_bias", "blocks.*.mlp.w*.weight")
    foreign = ("*gamma*", "*relative_position*", "cls_pt_layers.*")
    renames = (
        *((name, f"backbone.{name}") for name in NAMES),
        ("rope.freqs_*", "rotation.freqs_*"),
        ("blocks.#.attn.rope.freqs_*", "rotation.#.freqs_*"),
        *((f"blocks.#.attn.{part}_proj.weight", f"backbone.blocks.#.attn.{part}.weight") for part in "qkv"),
        ("blocks.#.mlp.w12.*", "backbone.blocks.#.mlp.fc1.*"),
        *GATES,
        ("blocks.#.mlp.ffn_ln.*", "backbone.blocks.#.mlp.norm.*"),
        ("blocks.*", "backbone.blocks.*"),
        ("mask_token", "encoding.mask_token"),
        ("lm_head.*", "lm_head.*"),
        ("head.*", "head.fc.*"),
    )
    steps = STEPS
    may_leave = (
        ("mask_token", PRETRAINING),
        ("lm_head.*", PRETRAINING),
        ("head.*", "a classifier"),
        *((f"backbone.{pattern}", reason) for pattern, reason in ENDS),
    )
    facts = dict(k_bias=False, pos_resample="bicubic")
    mean, std = CLIP_MEAN, CLIP_STD

    def told(self, state: State) -> dict[str, Any]:
        """As in Family: the rotation's buffers are as wide as a head."""
        cos, token = state.get("rope.freqs_cos"), state.get("cls_token")
        if cos is None or token is None:
            return {}
        return dict(num_heads=token.shape[-1] // cos.shape[-1], heads_are_stored=True)


class TimmEVA02(Timm):
    """timm/models/eva.py: EVA-02 under timm's names, without buffers. Positions are resampled with antialiasing."""

    name = "timm_eva02"
    signature = ("pos_embed", "cls_token", "blocks.*.norm1.weight", "blocks.*.mlp.fc2.weight")
    foreign = (
        "*gamma*",
        "*relative_position*",
        "*rope*",
        "cls_pt_layers.*",
        "reg_token",
        "*.attn.qkv.bias",
        "*.rel_pos_[hw]",
    )
    renames = (
        *((name, f"backbone.{name}") for name in NAMES),
        *((f"blocks.#.attn.{part}_proj.*", f"backbone.blocks.#.attn.{part}.*") for part in "qkv"),
        *TIMM_GATES,
        ("blocks.*", "backbone.blocks.*"),
        ("head.*", "head.fc.*"),
    )
    steps = STEPS
    may_leave = (("head.*", "a classifier"), *ENDS_OF_OURS)
    facts = dict(k_bias=False, pos_resample="bicubic_antialias")
    mean, std = CLIP_MEAN, CLIP_STD

    def recognises(self, state: State, container: str = "") -> bool:
        """As in Family; a gated MLP beside queries and values that alone have biases."""
        if not super().recognises(state, container):
            return False
        fc1, fc2 = state.get("blocks.0.mlp.fc1.weight"), state["blocks.0.mlp.fc2.weight"]
        packed = fc1 is not None and len(fc1) == 2 * fc2.shape[1]
        return "blocks.0.mlp.fc1_g.weight" in state or ("blocks.0.attn.q_bias" in state and packed)

    def steps_to_write(self, own: State) -> tuple[Step, ...]:
        """As in Family. UserError for an encoder without a rotation, which these classes would rotate."""
        if GRID not in own:
            raise UserError(
                "its queries and keys are not rotated by position, as all EVA-02's are; convert to timm_vit instead."
            )
        return APART if INNER_NORM in own else JOINED

    def write(self, own: State) -> tuple[State, list[str]]:
        """As in Family; a classifier of other features than one token's has no place."""
        return drop_head(super().write(own), "head.weight", own.get("backbone.cls_token"))
