"""Positions as rotations of queries and keys (RoPE 2104.09864), in two dimensions as EVA-02 does it (2303.11331)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mimeval.errors import UserError

from .attention import BiasedAttention
from .positions import Grid

THETA = 10000.0


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
        if head_dim % 4:
            raise UserError(
                f"rel_pos 'rotary' turns pairs of channels by row and by column: expected heads of a width that is a multiple of 4, "
                f"found {head_dim}; change num_heads."
            )
        self.head_dim = head_dim
        self.register_buffer("grid", torch.tensor(grid, dtype=torch.float32))

    def forward(self, grid: Grid) -> tuple[Tensor, Tensor]:
        """Cosines and sines [h * w, head_dim], float32, of the places of any grid (h, w), row by row."""
        device, pairs = self.grid.device, self.head_dim // 4
        frequencies = THETA ** -(torch.arange(pairs, device=device, dtype=torch.float32) / pairs)
        angles = []
        for axis, count in enumerate(grid):
            places = torch.arange(count, device=device, dtype=torch.float32) / count * self.grid[axis].float()
            angles.append((places[:, None] * frequencies).repeat_interleave(2, dim=1))
        rows, columns = angles
        whole = torch.cat([rows[:, None].expand(-1, grid[1], -1), columns.expand(grid[0], -1, -1)], dim=-1).flatten(
            0, 1
        )
        return whole.cos(), whole.sin()


class RotaryAttention(BiasedAttention):
    """Attention whose queries and keys are rotated by their patch's place; tokens before the patches are not."""

    def forward(self, x: Tensor, grid: Grid, rotation: tuple[Tensor, Tensor]) -> Tensor:  # type: ignore[override]
        """x: [B, prefix + h * w, D] -> the same shape; rotation: what Rotation gives for this grid."""
        q, k, v = self.heads(x)
        q, k = rotate(q, *rotation), rotate(k, *rotation)
        return self.merge_heads(self.attention(q, k, v))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[B, heads, prefix + L, d] with its last L tokens turned, in float32 whatever the type: angles [L, d]."""
    prefix = x.shape[2] - len(cos)
    patches = x[:, :, prefix:].float()
    even, odd = patches.unflatten(-1, (-1, 2)).unbind(-1)
    turned = patches * cos + torch.stack([-odd, even], dim=-1).flatten(-2) * sin
    return torch.cat([x[:, :, :prefix], turned.to(x.dtype)], dim=2)
