"""What every target has."""

from __future__ import annotations

from torch import Tensor, nn

from mimeval.backbones.positions import Grid
from mimeval.errors import UserError


class Target(nn.Module):
    """Base of the slot, one for each level: what is to be predicted for each cell of a grid.

    A target that can be shown has `to_images(prediction [B, L, dim], images) -> [B, 3, H, W]`.

    Attributes:
        dim: values that a decoder predicts for each cell (for discrete targets the number of classes).
        discrete: whether targets are class ids.
    """

    dim: int
    discrete = False

    def grid(self, image_size: Grid) -> Grid:
        """(rows, columns) of targets of images of (height, width) pixels. Raises UserError where they do not fit."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """images [B, 3, H, W], ImageNet-normalised -> [B, L, dim], or ids [B, L] int64 where discrete."""
        raise NotImplementedError


def whole_cells(key: str, side: int, image_size: Grid) -> Grid:
    """The grid of cells of `side` pixels. Raises UserError, which names `key`, where the image is no multiple of it."""
    height, width = image_size
    if height % side or width % side:
        raise UserError(
            f"{key} is {side} pixels, which does not divide the image of {height} x {width} pixels: change it or img_size."
        )
    return height // side, width // side
