"""HOG targets: how strongly an image changes into which direction, per cell and colour."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mimeval.backbones.positions import Grid
from mimeval.errors import UserError
from mimeval.pretrain.targets.base import Target
from mimeval.registry import MODELS

SOBEL = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))


@MODELS.register_module()
class HOGTarget(Target):
    """Histograms of oriented gradients of each colour (MaskFeat, 2112.09133; LocalMIM, 2303.05251: models_mim.HOGLayer).

    A pixel adds the length of its Sobel gradient to the bin of its orientation, which is unsigned; a cell's histogram is
    the mean of its pixels' and has norm 1 for each colour. There is neither interpolation between bins, nor a Gaussian
    window, nor normalisation over several cells. MaskFeat sums over a cell instead, which the normalisation cancels.

    Args:
        cell: side of a cell in pixels. A fractional one (3.5 px: patches of 14 px at scale 4) has windows that overlap, of
            the pixels that it touches.
        nbins: orientations from 0 to 180 degrees.
        patch_size: side of the square of cells that make one target, a multiple of `cell`; `cell` if None (LocalMIM).
            MaskFeat: cells of 8 px in patches of 16 px, so four histograms for each patch.
        bias: add a random number to each component of the gradient, drawn at construction from U(-1/3, 1/3), never
            trained and kept in the state dict (LocalMIM's option `hog_bias`, a default of the convolution it uses).
    """

    kernels: Tensor
    gradient_bias: Tensor | None

    def __init__(self, cell: float = 8, nbins: int = 9, patch_size: int | None = None, bias: bool = False) -> None:
        super().__init__()
        side: float = cell if patch_size is None else patch_size
        if cell <= 0 or side % cell:
            raise UserError(f"HOGTarget.patch_size must be a multiple of its cell {cell}, found {side}; change one.")
        if nbins < 1:
            raise UserError(f"HOGTarget.nbins must be at least 1, found {nbins}; LocalMIM and MaskFeat have 9 or 18.")
        self.cell, self.nbins, self.patch_size = cell, nbins, side
        self.cells_per_side = int(side / cell)
        self.dim = 3 * nbins * self.cells_per_side**2
        horizontal = torch.tensor(SOBEL)
        # One copy for each colour of a grouped convolution, which is bit-equal to one colour after the other. Sums of rows
        # and columns are not, and rounding decides the bin of up to 0.5 % of the pixels of an 8-bit picture.
        kernels = torch.stack([horizontal, horizontal.t()]).repeat(3, 1, 1)[:, None]
        self.register_buffer("kernels", kernels, persistent=False)
        self.register_buffer("gradient_bias", torch.empty(2).uniform_(-1 / 3, 1 / 3) if bias else None)

    def grid(self, image_size: Grid) -> Grid:
        """Targets of an image, (rows, columns). Raises UserError where patches do not fill the image."""
        if any(side % self.patch_size for side in image_size):
            raise UserError(
                f"HOGTarget has patches of {self.patch_size} px, which do not fill images of {image_size[0]} x "
                f"{image_size[1]} px; change cell, patch_size or the image size."
            )
        return int(image_size[0] / self.patch_size), int(image_size[1] / self.patch_size)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """images [B, 3, H, W], ImageNet-normalised -> targets [B, L, dim].

        Values in (colour, bin) order; within each of them, where a patch has several cells, cells in raster order.
        """
        rows, columns = self.grid((images.shape[-2], images.shape[-1]))
        side = self.cells_per_side
        maps = self.histograms(images).flatten(1, 2).unflatten(3, (columns, side)).unflatten(2, (rows, side))
        return maps.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)

    def histograms(self, images: Tensor) -> Tensor:
        """images [B, 3, H, W] -> the histogram of every cell [B, 3, nbins, H / cell, W / cell], float32."""
        height, width = images.shape[-2:]
        cells = round(height / self.cell), round(width / self.cell)
        # In half precision pixels would change their bins.
        with torch.autocast(images.device.type, enabled=False):
            padded = F.pad(images.float().contiguous(), (1, 1, 1, 1), mode="reflect")
            bias = None if self.gradient_bias is None else self.gradient_bias.repeat(3)
            gradients = F.conv2d(padded, self.kernels, bias, groups=3).unflatten(1, (3, 2))
            x, y = gradients[:, :, 0], gradients[:, :, 1]
            length = (x.square() + y.square()).sqrt()
            # The angle from the vertical, in bins; opposite directions are the same orientation.
            bins = (torch.atan2(x, y) / math.pi * self.nbins).floor() % self.nbins
            # Bin by bin: all one-hot maps at once would take nbins times the memory and no less time.
            histogram = torch.stack(
                [F.adaptive_avg_pool2d(length.where(bins == k, 0.0), cells) for k in range(self.nbins)], dim=2
            )
            return F.normalize(histogram, dim=2)
