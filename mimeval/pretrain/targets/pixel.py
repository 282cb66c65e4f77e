"""Pixel targets: what a patch looks like."""

from __future__ import annotations

from torch import Tensor

from mimeval.backbones.positions import Grid
from mimeval.pretrain.targets.base import Target, whole_cells
from mimeval.registry import MODELS

EPS = 1e-6


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """[B, 3, H, W] -> [B, L, p * p * 3], patches in raster order, values in (row, column, channel) order."""
    batch, channels, height, width = images.shape
    rows, columns = height // patch_size, width // patch_size
    blocks = images.reshape(batch, channels, rows, patch_size, columns, patch_size)
    return blocks.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, -1)


def unpatchify(patches: Tensor, patch_size: int, grid: Grid) -> Tensor:
    """The inverse of :func:`patchify`: [B, L, p * p * 3] -> [B, 3, H, W]."""
    rows, columns = grid
    blocks = patches.reshape(len(patches), rows, columns, patch_size, patch_size, -1).permute(0, 5, 1, 3, 2, 4)
    return blocks.reshape(len(patches), -1, rows * patch_size, columns * patch_size)


@MODELS.register_module()
class PixelTarget(Target):
    """Pixels of each patch, normalised by the patch's own mean and unbiased variance (MAE, 2111.06377, section 4.1).

    Args:
        patch_size: side p of a patch in pixels; the encoder's, or another one for a level of another scale.
        norm_pix: normalise each patch; otherwise the ImageNet-normalised pixels as they are.
    """

    def __init__(self, patch_size: int = 16, norm_pix: bool = True) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.norm_pix = norm_pix
        self.dim = patch_size**2 * 3

    def grid(self, image_size: Grid) -> Grid:
        """As in Target: one cell for each patch."""
        return whole_cells(f"{type(self).__name__}.patch_size", self.patch_size, image_size)

    def forward(self, images: Tensor) -> Tensor:
        """images [B, 3, H, W], ImageNet-normalised -> targets [B, L, dim]."""
        patches = patchify(images, self.patch_size)
        if not self.norm_pix:
            return patches
        variance, mean = _moments(patches)
        return (patches - mean) / (variance + EPS).sqrt()

    def to_images(self, prediction: Tensor, images: Tensor) -> Tensor:
        """Predictions [B, L, dim] as images [B, 3, H, W], ImageNet-normalised like ``images``.

        With ``norm_pix`` a prediction says nothing about a patch's mean and contrast; those of the true patch are used,
        which makes pictures look better than the prediction is. Say so wherever they are shown.
        """
        if self.norm_pix:
            variance, mean = _moments(patchify(images, self.patch_size))
            prediction = prediction * (variance + EPS).sqrt() + mean
        grid = (images.shape[2] // self.patch_size, images.shape[3] // self.patch_size)
        return unpatchify(prediction, self.patch_size, grid)


def _moments(patches: Tensor) -> tuple[Tensor, Tensor]:
    return patches.var(dim=-1, keepdim=True), patches.mean(dim=-1, keepdim=True)
