"""Masks of a batch, on the grid that they were drawn on and on any other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mimeval.backbones.positions import Grid
from mimeval.errors import UserError


@dataclass(frozen=True)
class Masks:
    """The parts of a batch of B images with L cells, n of them visible in each of K parts.

    Attributes:
        mask: [B, K, L] float, 1 where hidden.
        grid: (rows, columns) of cells, L = rows * columns, in raster order.
        ids_keep: [B, K, n] int64, the visible cells in the order in which the encoder sees them.
        ids_restore: [B, K, L] int64, for every cell its place in the sequence (visible tokens, then mask tokens).
        key_valid: [B, K, n] bool, False where ids_keep is padding, or None where all parts show equally many cells.
    """

    mask: Tensor
    grid: Grid
    ids_keep: Tensor
    ids_restore: Tensor
    key_valid: Tensor | None = None

    @classmethod
    def from_mask(cls, mask: Tensor, grid: Grid) -> Masks:
        """Masks from [B, K, L], 1 where hidden and else 0; visible cells in raster order.

        Parts may show different numbers of cells: ids_keep is then padded (with hidden cells) and key_valid says where.
        """
        counts = (mask == 0).sum(-1)
        most = int(counts.max())
        return _raster(mask, grid, most, padded=bool((counts < most).any()))

    @property
    def parts(self) -> int:
        return self.mask.shape[1]

    def to(self, device: torch.device) -> Masks:
        valid = None if self.key_valid is None else self.key_valid.to(device)
        return Masks(
            self.mask.to(device), self.grid, self.ids_keep.to(device), self.ids_restore.to(device), key_valid=valid
        )

    def gather(self, patches: Tensor) -> Tensor:
        """The visible patches of all parts, parts stacked on the batch axis: [B, L, D] -> [B * K, n, D]."""
        batch, parts, visible = self.ids_keep.shape
        index = self.ids_keep.reshape(batch, parts * visible, 1).expand(-1, -1, patches.shape[-1])
        return patches.gather(1, index).reshape(batch * parts, visible, -1)

    def weights(self, grid: Grid) -> Tensor:
        """The mask [B, K, L'] on another grid: repeated on a finer one, averaged on a coarser one (LocalMIM's levels).

        A coarse cell that is hidden in part has a weight between 0 and 1.

        Raises:
            UserError: neither grid divides the other.
        """
        if grid == self.grid:
            return self.mask
        pictures = self.mask.unflatten(2, self.grid)
        if _divides(self.grid, grid):
            rows, columns = grid[0] // self.grid[0], grid[1] // self.grid[1]
            return pictures.repeat_interleave(rows, 2).repeat_interleave(columns, 3).flatten(2)
        if _divides(grid, self.grid):
            kernel = (self.grid[0] // grid[0], self.grid[1] // grid[1])
            return F.avg_pool2d(pictures, kernel).flatten(2)
        raise UserError(
            f"Masks lie on a grid of {self.grid[0]} x {self.grid[1]} cells, which cannot be taken to {grid[0]} x {grid[1]}: "
            f"one must divide the other; change the mask unit, a decoder's scale or a target's patch size."
        )

    def on(self, grid: Grid) -> Masks:
        """The same masks on another grid, cells in raster order.

        On a finer grid a hidden cell hides all that lie in it. On a coarser one cells can be hidden in part, so that
        there is no sequence of visible ones: ids_keep and ids_restore are empty, [B, K, 0].
        """
        if grid == self.grid:
            return self
        mask = self.weights(grid)
        if not _divides(self.grid, grid):
            empty = self.ids_keep.new_zeros(*mask.shape[:2], 0)
            return Masks(mask, grid, empty, empty)
        finer = (grid[0] // self.grid[0]) * (grid[1] // self.grid[1])
        return _raster(mask, grid, self.ids_keep.shape[2] * finer, padded=self.key_valid is not None)


def masks_from_order(order: Tensor, sizes: list[int], grid: Grid) -> Masks:
    """Cuts each image's shuffled cells into consecutive visible sets.

    Args:
        order: [B, L] int64, a permutation of the cells of each image.
        sizes: number of visible cells of each of the K parts; at most L together.
        grid: (rows, columns) of cells.
    """
    batch, cells = order.shape
    ranks = order.argsort(1)  # the place of every cell in the shuffled sequence
    longest = max(sizes)
    starts = torch.tensor([sum(sizes[:k]) for k in range(len(sizes))], device=order.device)
    lengths = torch.tensor(sizes, device=order.device)
    # The place of a cell within each part: 0 <= place < length where the part shows it.
    place = ranks[:, None] - starts[None, :, None]
    visible = (place >= 0) & (place < lengths[None, :, None])
    # Hidden cells point just past the visible tokens, where the decoder keeps its mask token.
    ids_restore = torch.where(visible, place, longest)
    slots = torch.arange(longest, device=order.device)
    taken = (starts[:, None] + slots).clamp(max=cells - 1)
    ids_keep = order[:, taken.flatten()].reshape(batch, len(sizes), longest)
    uneven = min(sizes) < longest
    key_valid = (slots < lengths[:, None]).expand(batch, -1, -1) if uneven else None
    return Masks((~visible).float(), grid, ids_keep, ids_restore, key_valid)


def _raster(mask: Tensor, grid: Grid, most: int, padded: bool) -> Masks:
    """Masks from [B, K, L] of 0 and 1 with at most `most` visible cells in a part; padded where some part has fewer."""
    visible = mask == 0
    # A stable sort of 0 and 1: the visible cells in raster order, then the hidden ones.
    ids_keep = (~visible).to(torch.uint8).argsort(dim=-1, stable=True)[..., :most]
    ids_restore = torch.where(visible, visible.cumsum(-1) - 1, most)
    slots = torch.arange(most, device=mask.device)
    key_valid = slots < visible.sum(-1, keepdim=True) if padded else None
    return Masks(mask, grid, ids_keep, ids_restore, key_valid)


def _divides(coarse: Grid, fine: Grid) -> bool:
    return fine[0] % coarse[0] == 0 and fine[1] % coarse[1] == 0
