"""Positions as rotations of queries and keys (RoPE 2104.09864), in two dimensions as EVA-02 (2303.11331) and DINOv3 (2508.10104) do it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mimeval.errors import UserError

from .attention import BiasedAttention
from .positions import Grid, rotation_periods

THETA = 10000.0


class Turn(NamedTuple):
    """Cosines and sines [L, d] of the angles of L places. adjacent: channels turn in pairs (0, 1), (2, 3), .., else in pairs
    (0, d / 2), (1, d / 2 + 1), .."""

    cos: Tensor
    sin: Tensor
    adjacent: bool


class Rotation(nn.Module):
    """The angles of every place of a grid, on the scale of the grid that they were trained on.

    The first half of a head's channels turns with the row, the second with the column, in neighbouring pairs (0, 1), (2, 3), ..;
    pair j of d / 4 turns by 10000^(-4j / d) for each row or column (EVA-02/asuka, rope.py: VisionRotaryEmbeddingFast). Another
    grid is stretched onto the trained one, so that its last place is never further away.

    `grid` [2], rows and columns of the trained grid, is a buffer, and thus in every checkpoint: no other tensor says that an
    encoder rotates. Raises UserError where head_dim is no multiple of 4.
    """

    grid: Tensor

    def __init__(self, grid: Grid, head_dim: int):
        super().__init__()
        check_width(head_dim)
        self.head_dim = head_dim
        self.register_buffer("grid", torch.tensor(grid, dtype=torch.float32))

    def forward(self, grid: Grid) -> Turn:
        """Of the places of any grid (h, w), row by row, float32."""
        device, pairs = self.grid.device, self.head_dim // 4
        frequencies = THETA ** -(torch.arange(pairs, device=device, dtype=torch.float32) / pairs)
        places = [torch.arange(count, device=device, dtype=torch.float32) / count for count in grid]
        angles = [place[:, None] * self.grid[axis].float() * frequencies for axis, place in enumerate(places)]
        return turn(angles, adjacent=True)


class CentredRotation(nn.Module):
    """The angles of every place of a grid that reaches from -1 to 1 along both of its sides, whatever its size.

    The first half of the angles turns with the row, the second with the column, by 2 pi over a period for each unit of length; the
    head's first half of channels is paired with its second (dinov3/layers/rope_position_encoding.py, coordinates "separate").

    `periods` [d / 4], 100^(4j / d) at first, is a buffer, as in the released files. Raises UserError where head_dim is no multiple of 4.
    """

    periods: Tensor

    def __init__(self, head_dim: int):
        super().__init__()
        check_width(head_dim)
        self.register_buffer("periods", rotation_periods(head_dim // 4))

    def forward(self, grid: Grid) -> Turn:
        """Of the places of any grid (h, w), row by row, float32."""
        periods = self.periods.float()
        places = [torch.arange(0.5, count, device=periods.device, dtype=torch.float32) / count for count in grid]
        return turn([2 * math.pi * (2 * place[:, None] - 1) / periods for place in places], adjacent=False)


def check_width(head_dim: int) -> None:
    if head_dim % 4:
        raise UserError(
            f"rel_pos 'rotary' turns pairs of channels by row and by column: expected heads of a width that is a multiple of 4, "
            f"found {head_dim}; change num_heads."
        )


def turn(angles: list[Tensor], adjacent: bool) -> Turn:
    """From the angles of rows [h, d / 4] and of columns [w, d / 4]: those of every place, rows' before columns'."""
    rows, columns = angles
    whole = torch.cat([rows[:, None].expand(-1, len(columns), -1), columns.expand(len(rows), -1, -1)], dim=-1).flatten(
        0, 1
    )
    whole = whole.repeat_interleave(2, dim=-1) if adjacent else whole.tile(2)
    return Turn(whole.cos(), whole.sin(), adjacent)


class RotaryAttention(BiasedAttention):
    """Attention whose queries and keys are rotated by their patch's place; tokens before the patches are not."""

    def forward(self, x: Tensor, grid: Grid, rotation: Turn) -> Tensor:  # type: ignore[override]
        """x: [B, prefix + h * w, D] -> the same shape; rotation: of this grid."""
        q, k, v = self.heads(x)
        return self.merge_heads(self.attention(rotate(q, rotation), rotate(k, rotation), v))


def rotate(x: Tensor, rotation: Turn) -> Tensor:
    """[B, heads, prefix + L, d] with its last L tokens turned, in float32 whatever the type."""
    prefix = x.shape[2] - len(rotation.cos)
    patches = x[:, :, prefix:].float()
    if rotation.adjacent:
        first, second = patches.unflatten(-1, (-1, 2)).unbind(-1)
        quarter = torch.stack([-second, first], dim=-1).flatten(-2)
    else:
        first, second = patches.chunk(2, dim=-1)
        quarter = torch.cat([-second, first], dim=-1)
    turned = patches * rotation.cos + quarter * rotation.sin
    return torch.cat([x[:, :, :prefix], turned.to(x.dtype)], dim=2)
