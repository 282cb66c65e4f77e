"""Augmentations of ImageNet training: timm's RandAugment and random erasing for fine-tuning, MAE's crop for its linear probe.

RandAugment and erasing stand after RandomResizedCrop and RandomFlip, in this order, as in timm's ``create_transform``, which
the fine-tuning scripts of MAE, LocalMIM, SimMIM and BEiT call. Mixup and CutMix follow in ``mimeval.transfer.preprocess``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from PIL import Image
from timm.data import auto_augment, random_erasing
from timm.data.transforms import str_to_pil_interp
from torchvision.transforms import RandomResizedCrop as TorchvisionRandomResizedCrop

from mimeval.datasets.transforms import RandomResizedCrop
from mimeval.errors import UserError
from mimeval.registry import TRANSFORMS

IMAGENET_MEAN = (123.675, 116.28, 103.53)


class _OneDraw(TorchvisionRandomResizedCrop):
    @staticmethod
    def get_params(img: Image.Image, scale: list[float], ratio: list[float]) -> tuple[int, int, int, int]:
        """(top, left, height, width). Draws from torch in the order of MAE's util/crop.py."""
        width, height = img.size
        area = width * height * torch.empty(1).uniform_(scale[0], scale[1]).item()
        low, high = torch.tensor(ratio).log()
        aspect = torch.empty(1).uniform_(low, high).exp().item()
        w = min(round(math.sqrt(area * aspect)), width)
        h = min(round(math.sqrt(area / aspect)), height)
        top = torch.randint(height - h + 1, (1,)).item()
        left = torch.randint(width - w + 1, (1,)).item()
        return int(top), int(left), h, w


@TRANSFORMS.register_module()
class ClippedResizedCrop(RandomResizedCrop):
    """The random resized crop of MAE's linear probe (its util/crop.py, after BYOL's): one draw, clipped to the image.

    torchvision's draws again, up to ten times, where the rectangle does not fit; so this one has more of the large crops.
    """

    crop_class = _OneDraw


def _posterize(image: Image.Image, bits: int, **settings: Any) -> Image.Image:
    # At magnitude 10 no bit is left, in 2 of 1,000 images. Pillow made these black until version 13, which raises.
    return Image.new(image.mode, image.size) if bits < 1 else auto_augment.posterize(image, bits, **settings)


@TRANSFORMS.register_module()
class RandAugment(BaseTransform):
    """timm's RandAugment (1909.13719 in timm's form), with the settings that its ``create_transform`` derives.

    config: timm's text: 'rand-m9-mstd0.5-inc1' draws 2 of 15 operations, each applied with probability 0.5, at magnitude
        N(9, 0.5) clipped to 0..10, where more means further from the image.
    size: pixels of the image that comes in. mean: RGB in 0..255, rounded: what rotation, shear and translation fill with.
    interpolation: of these three. Draws from python's and numpy's global generators. Raises UserError for another config.
    """

    def __init__(
        self,
        config: str = "rand-m9-mstd0.5-inc1",
        size: int = 224,
        mean: Sequence[float] = IMAGENET_MEAN,
        interpolation: str = "bicubic",
    ) -> None:
        settings: dict[str, Any] = dict(
            translate_const=int(size * 0.45),
            img_mean=tuple(min(255, round(value)) for value in mean),
            interpolation=str_to_pil_interp(interpolation),
        )
        try:
            self.augment = auto_augment.rand_augment_transform(config, settings)
        except (AssertionError, ValueError) as error:
            raise UserError(
                f"pipeline: RandAugment.config must be a text such as 'rand-m9-mstd0.5-inc1', which timm reads, "
                f"found '{config}'; correct it"
            ) from error
        for operation in self.augment.ops:
            if operation.name.startswith("Posterize"):
                operation.aug_fn = _posterize

    def transform(self, results: dict) -> dict:
        """img: PIL RGB image -> the same size."""
        results["img"] = self.augment(results["img"])
        return results


class _Recorder:
    """Stands in for an image that timm erases: keeps ((top, bottom), (left, right), noise) instead of writing pixels."""

    dtype = torch.float32

    def __init__(self, *size: int) -> None:
        self._size = size
        self.erased: list[tuple[tuple[int, int], tuple[int, int], np.ndarray]] = []

    def size(self) -> tuple[int, ...]:
        return self._size

    def __setitem__(self, place: tuple[slice, slice, slice], noise: torch.Tensor) -> None:
        _, rows, columns = place
        self.erased.append(((rows.start, rows.stop), (columns.start, columns.stop), noise.numpy()))


@TRANSFORMS.register_module()
class RandomErasing(BaseTransform):
    """Chooses what random erasing (1708.04896) hides and the noise that goes there; the preprocessor pastes it.

    Images stay uint8 until they are on the device, but the noise is N(0, 1) in normalised pixels. So timm's RandomErasing
    runs here on no image: its arithmetic, its order of draws (python's generator, then torch's on the CPU).
    prob: that an image is erased. mode: 'pixel' (noise per pixel), 'rand' (per channel) or 'const' (the mean). count: most
    rectangles. Rectangles have 2 to 33 % of the area and an aspect of 0.3 to 3.3.
    """

    def __init__(self, prob: float = 0.25, mode: str = "pixel", count: int = 1) -> None:
        if mode not in ("pixel", "rand", "const"):
            raise UserError(
                f"pipeline: RandomErasing.mode must be 'pixel', 'rand' or 'const', found '{mode}'; change it"
            )
        self.erasing = random_erasing.RandomErasing(prob, mode=mode, max_count=count, device="cpu")

    def transform(self, results: dict) -> dict:
        """img: PIL image, left as it is -> erasing, absent if there is none: list of ((top, bottom), (left, right), noise).

        noise: float32 array [3, h, w], or [3, 1, 1] if it is one per channel.
        """
        width, height = results["img"].size
        if erased := self.erasing(_Recorder(3, height, width)).erased:
            results["erasing"] = erased
        return results
