"""What the layouts of libraries (timm, transformers, OpenMMLab, detectron2) have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from mimeval.errors import UserError

from .architecture import TABLE, Architecture, State, ViT, table_grid
from .base import BUFFER, DOWNSTREAM, FRESH_FC_NORM, Absence, Family
from .mae import ENDS
from .own import ARGUMENTS
from .stored import backbone_config
from .transform import Step

ENDS_OF_OURS = (
    *((f"backbone.{pattern}", reason) for pattern, reason in ENDS),
    ("backbone.reg_token", "this backbone has no registers"),
    ("backbone.tap_norms.*", "norms of taps that this backbone does not have"),
)
# Where a backbone ends without any norm, as in detectors and segmentors.
MAY_LACK = (Absence("fc_norm.*", FRESH_FC_NORM.reason), *DOWNSTREAM)
BUFFERS = (("*relative_position_index", BUFFER), ("*attn_mask", BUFFER))


class Library(Family):
    """The layout of a library's own class."""

    def architecture(self, own: State, meta: dict[str, Any]) -> Architecture:
        """As in Family; a file of ours says in its header what no shape tells, but for ways to resample: those are the library's."""
        architecture, said = super().architecture(own, meta), backbone_config(meta)
        known: dict[str, Any] = {
            key: tuple(said[key]) if isinstance(said[key], list) else said[key]
            for key in ARGUMENTS
            if key in said and hasattr(architecture, key) and not key.endswith("_resample")
        }
        return replace(architecture, **known)


def with_heads(architecture: Architecture, heads: Any) -> Architecture:
    """An architecture with the number of heads that stands beside the weights, where none of its tables tells it."""
    if isinstance(architecture, ViT) and not architecture.heads_are_stored and isinstance(heads, int) and heads > 0:
        return replace(architecture, num_heads=heads, heads_are_stored=True)
    return architecture


def is_gated(own: State) -> bool:
    """Whether the MLPs are SwiGLU: fc1 gives gate and value."""
    fc1, fc2 = (own.get(f"backbone.blocks.0.mlp.{name}.weight") for name in ("fc1", "fc2"))
    return fc1 is not None and fc2 is not None and fc1.shape[0] == 2 * fc2.shape[1]


@dataclass(frozen=True)
class ClassRow(Step):
    """The family's positions always have a row for the class token; zero where ours have none."""

    def read(self, state: State) -> str | None:
        return None

    def write(self, state: State) -> None:
        table, token = state.get("backbone.pos_embed"), state.get("backbone.cls_token")
        grid = table_grid(table, None)
        if table is not None and token is not None and grid is not None and table.shape[1] == grid[0] * grid[1]:
            state["backbone.pos_embed"] = torch.cat([table.new_zeros(1, 1, table.shape[-1]), table], dim=1)


def check_one_window(state: State) -> None:
    """UserError where the tables of an own Swin are of windows of several sizes, which classes with one size for all cannot hold."""
    rows = {len(tensor) for name, tensor in state.items() if name.endswith(f".{TABLE}")}
    if len(rows) > 1:
        sides = ", ".join(str((math.isqrt(count) + 1) // 2) for count in sorted(rows))
        raise UserError(
            f"its tables are of windows of {sides}, and this format has one size for all stages; convert to timm or mimeval, or make "
            "a checkpoint for images in which the last stage holds a whole window."
        )


def without_other_decoders(own: State) -> tuple[State, list[str]]:
    """An own state without its decoders, and their names, unless there is one and it is MAE's, of RGB patches."""
    decoder = [name for name in own if name.startswith("decoders.")]
    patch, pred = own.get("backbone.patch_embed.proj.weight"), own.get("decoders.0.pred.weight")
    whole = {
        f"decoders.0.{name}"
        for name in ("mask_token", "pos_embed", "embed.weight", "norm.weight", "blocks.0.norm1.weight")
    }
    alone = all(name.startswith("decoders.0.") for name in decoder)
    if alone and patch is not None and pred is not None and len(pred) == patch[0].numel() and whole <= own.keys():
        return own, []
    return {name: tensor for name, tensor in own.items() if name not in decoder}, decoder
