"""The masking slot: which cells of an image are hidden from each of its parts.

A mask is 1 where a cell is hidden. All tensors carry a part axis K; plain MIM has K = 1. A cell is a patch, or larger where
`unit` says so (SimMIM's 32 pixels); Masks.on() takes masks to any other grid.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from mimeval.backbones.positions import Grid
from mimeval.engine.randomness import numpy_generator, uniform
from mimeval.errors import UserError
from mimeval.pretrain.masks import Masks, masks_from_order
from mimeval.registry import MODELS


class Masking(nn.Module):
    """Base of the slot: shuffles the cells and shows the first of them. A subclass says how many each part shows.

    Args:
        unit: side of a cell in pixels, a multiple of the patch; None for the patch itself.
        shared: all images of a batch on this process have the mask of the first one (LocalMIM's Swin); what an image
            shows then depends on its batch.
    """

    parts = 1

    def __init__(self, unit: int | None = None, shared: bool = False) -> None:
        super().__init__()
        self.unit = unit
        self.shared = shared

    def cells(self, image_size: Grid, patch_size: int) -> Grid:
        """The grid of the masks of images of `image_size` pixels, checked against everything that is known of it.

        Raises:
            UserError: the unit is no multiple of the patch or does not divide the image, or the grid is too small.
        """
        unit = patch_size if self.unit is None else self.unit
        height, width = image_size
        if unit < 1 or unit % patch_size or height % unit or width % unit:
            raise UserError(
                f"{type(self).__name__}.unit is {unit} pixels; expected a multiple of the patch size {patch_size} that "
                f"divides the image of {height} x {width} pixels: change unit or img_size."
            )
        grid = (height // unit, width // unit)
        self.sizes(grid[0] * grid[1])
        return grid

    def sizes(self, cells: int) -> list[int]:
        """Number of visible cells of each part, for an image of that many cells. Raises UserError where it cannot be."""
        raise NotImplementedError

    def from_noise(self, noise: Tensor, grid: Grid) -> Masks:
        """Masks from given noise [B, L]: cells are shuffled by sorting it (MAE, models_mae.random_masking)."""
        return masks_from_order(noise.argsort(dim=1, stable=True), self.sizes(noise.shape[1]), grid)

    def draw(self, keys: Tensor, grid: Grid) -> Masks:
        return self.from_noise(uniform(keys, grid[0] * grid[1]), grid)

    def forward(self, keys: Tensor, grid: Grid) -> Masks:
        """Masks for images named by their keys, equal on every device and, unless `shared`, in every batch.

        Args:
            keys: [B, 3] int64 (seed, epoch, index of the image in its data set).
            grid: (rows, columns) of cells, L = rows * columns.
        """
        return self.draw(keys[:1].expand_as(keys) if self.shared else keys, grid)


@MODELS.register_module()
class RandomMasking(Masking):
    """Hides a random subset of the cells of each image (MAE, 2111.06377, section 3; SimMIM, 2111.09886, section 3.2).

    Args:
        ratio: share of hidden cells. int(L * (1 - ratio)) cells stay visible, as in MAE's and LocalMIM's official code;
            SimMIM's ceil(L * ratio) hidden ones are the same number for its grids.
        unit, shared: as in Masking.
    """

    def __init__(self, ratio: float = 0.75, unit: int | None = None, shared: bool = False) -> None:
        super().__init__(unit, shared)
        if not 0 < ratio < 1:
            raise UserError(f"RandomMasking.ratio must lie between 0 and 1, not {ratio}.")
        self.ratio = ratio

    def sizes(self, cells: int) -> list[int]:
        visible = int(cells * (1 - self.ratio))
        if visible == 0:
            raise UserError(f"RandomMasking.ratio {self.ratio} leaves none of {cells} patches visible: lower it.")
        return [visible]


@MODELS.register_module()
class ParallelMasking(Masking):
    """Divides the cells of each image into K random disjoint parts that together show every cell (EMAE, 2302.14431).

    Part k sees its own cells and hides all others, so the mask ratio is 1 - 1/K. Where K does not divide L, the first
    L mod K parts show one cell more than the others, so that no cell is left out.

    Args:
        parts: K. The paper's 75 % correspond to K = 4.
        unit, shared: as in Masking.
    """

    def __init__(self, parts: int = 4, unit: int | None = None, shared: bool = False) -> None:
        super().__init__(unit, shared)
        if parts < 2:
            raise UserError(f"ParallelMasking.parts must be at least 2, not {parts}: use RandomMasking for one part.")
        self.parts = parts

    @property
    def ratio(self) -> float:
        return 1 - 1 / self.parts

    def sizes(self, cells: int) -> list[int]:
        if cells < self.parts:
            raise UserError(f"ParallelMasking.parts is {self.parts}, but an image has only {cells} patches.")
        each, remainder = divmod(cells, self.parts)
        return [each + (k < remainder) for k in range(self.parts)]


@MODELS.register_module()
class BlockMasking(Masking):
    """Hides rectangles until enough patches are hidden (BEiT, 2106.08254, algorithm 1; official beit/masking_generator.py).

    Rectangles may overlap. Each has a random area between min_patches and what is still missing, and a log-uniform aspect
    ratio; it counts where it hides something new and no more than is missing, else another is tried, 10 times. A mask that
    no rectangle fits any more ends short of `patches`: a third of BEiT's do, with 74.5 of 75 on average.

    Args:
        patches: number of hidden patches, never exceeded. BEiT: 75 of 196; MaskFeat: 78.
        min_patches: smallest area of a rectangle.
        max_patches: largest area, `patches` where None.
        aspect: range of height / width.
        unit: as in Masking.
    """

    attempts = 10

    def __init__(
        self,
        patches: int = 75,
        min_patches: int = 16,
        max_patches: int | None = None,
        aspect: tuple[float, float] = (0.3, 1 / 0.3),
        unit: int | None = None,
    ) -> None:
        super().__init__(unit)
        if not 0 < min_patches <= patches:
            raise UserError(f"BlockMasking.min_patches must lie between 1 and patches ({patches}), not {min_patches}.")
        if not 0 < aspect[0] <= aspect[1]:
            raise UserError(f"BlockMasking.aspect must be two rising positive ratios, not {tuple(aspect)}.")
        self.patches = patches
        self.min_patches = min_patches
        self.max_patches = patches if max_patches is None else max_patches
        self.aspect = aspect

    def sizes(self, cells: int) -> list[int]:
        if self.patches >= cells:
            raise UserError(
                f"BlockMasking.patches {self.patches} leaves none of {cells} patches visible: lower it, and min_patches."
            )
        return [cells - self.patches]

    @torch.compiler.disable
    def draw(self, keys: Tensor, grid: Grid) -> Masks:
        # On the host: each rectangle depends on those before it.
        masks = np.stack([self.one(key, grid) for key in keys.tolist()])
        return Masks.from_mask(torch.from_numpy(masks)[:, None], grid).to(keys.device)

    def one(self, key: list[int], grid: Grid) -> np.ndarray:
        """The mask [L] of one image, float32."""
        random = numpy_generator(key)
        rows, columns = grid
        mask = np.zeros(grid, np.float32)
        lowest, highest = math.log(self.aspect[0]), math.log(self.aspect[1])
        hidden = 0
        while hidden < self.patches:
            most = min(self.patches - hidden, self.max_patches)
            new = 0
            for _ in range(self.attempts):
                # Once less than min_patches is missing, the area lies between the two the other way round.
                area = self.min_patches + (most - self.min_patches) * random.random()
                ratio = math.exp(lowest + (highest - lowest) * random.random())
                height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
                if height >= rows or width >= columns:
                    continue
                top, left = int((rows - height + 1) * random.random()), int((columns - width + 1) * random.random())
                block = mask[top : top + height, left : left + width]
                new = block.size - np.count_nonzero(block)
                if 0 < new <= most:
                    block[:] = 1
                    break
                new = 0
            if not new:
                break
            hidden += new
        return mask.ravel()
