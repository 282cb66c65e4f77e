"""Image transforms on PIL images, with torchvision's arithmetic: what the MIM papers' own scripts compute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from mmcv.transforms import BaseTransform
from mmpretrain.structures import DataSample
from PIL import Image, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms import RandomResizedCrop as TorchvisionRandomResizedCrop
from torchvision.transforms import functional as tv

from mimeval.errors import DamagedSample
from mimeval.registry import TRANSFORMS

INTERPOLATION = {mode.value: mode for mode in InterpolationMode}
# What is read whatever a file is called. Pillow knows formats besides that start other programs (EPS).
FORMATS = ("JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP", "GIF", "JPEG2000")

# Transforms that give the same image whenever they are asked.
FIXED = ("LoadRGB", "ResizeCenterCrop", "PackImages")


def read_rgb(path: str | Path) -> Image.Image:
    """The image as it is meant to be seen: EXIF orientation applied, grey, palette, CMYK and alpha turned into RGB.

    docs/data.md says what becomes of each kind. Every pixel is decoded at full size: a smaller JPEG decoding (Pillow's
    draft) would be faster and give other pixels than the official recipes.

    Raises:
        DamagedSample: the file is missing, empty, cut short or no image.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            image.load()
            _turn_upright(image)
            if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
                # Pillow clips 16-bit grey at 255 instead of scaling it.
                return image.convert("I").point(lambda value: value / 257.0).convert("L").convert("RGB")
            if image.mode in ("I", "F"):
                raise ValueError("32 bits per pixel, of which nobody says which value is white")
            if image.mode == "P" and "transparency" in image.info:
                return image.convert("RGBA").convert("RGB")
            return image if image.mode == "RGB" else image.convert("RGB")
    except FileNotFoundError as error:
        raise DamagedSample(
            f"image {path}: expected an image file, found nothing; check the data folder", str(path), "missing"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything at all over a damaged file
        reason = why_unreadable(error, path)
        raise DamagedSample(
            f"image {path}: expected a readable image, found a file that Pillow cannot decode ({reason}); "
            "replace or remove it",
            str(path),
            reason,
        ) from error


def _turn_upright(image: Image.Image) -> None:
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # EXIF data that cannot be read turn nothing; the pixels are there
        pass


def why_unreadable(error: Exception, path: str | Path) -> str:
    """A decoder's complaint on one short line, without the file's name and without addresses of memory."""
    text = " ".join(str(error).replace(str(path), "").split()).partition(" <_io.")[0].strip(" ':")
    return text[:200] or type(error).__name__


@TRANSFORMS.register_module()
class LoadRGB(BaseTransform):
    """img_path -> img: PIL RGB image; ori_shape, img_shape: (H, W)."""

    def transform(self, results: dict) -> dict:
        """Read results['img_path']; raises DamagedSample naming the file if it cannot be read."""
        results["img"] = read_rgb(results["img_path"])
        results["ori_shape"] = results["img_shape"] = results["img"].size[::-1]
        return results


@TRANSFORMS.register_module()
class RandomResizedCrop(BaseTransform):
    """torchvision's random resized crop; the defaults are MAE's for pre-training (bicubic, 20 to 100 % of the area)."""

    crop_class = TorchvisionRandomResizedCrop

    def __init__(
        self,
        size: int | Sequence[int],
        scale: Sequence[float] = (0.2, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = "bicubic",
    ) -> None:
        self.crop = self.crop_class(size, tuple(scale), tuple(ratio), interpolation=INTERPOLATION[interpolation])

    def transform(self, results: dict) -> dict:
        """img: PIL image of any size -> img: PIL image of `size`."""
        results["img"] = self.crop(results["img"])
        results["img_shape"] = results["img"].size[::-1]
        return results


@TRANSFORMS.register_module()
class RandomFlip(BaseTransform):
    """Mirror the image left to right with probability `prob`."""

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    def transform(self, results: dict) -> dict:
        """img: PIL image, perhaps mirrored; flip: bool."""
        results["flip"] = bool(torch.rand(1).item() < self.prob)
        if results["flip"]:
            results["img"] = tv.hflip(results["img"])
        return results


@TRANSFORMS.register_module()
class ResizeCenterCrop(BaseTransform):
    """Evaluation: shorter side to `resize`, then the central square of `size` (MAE: 256 and 224, bicubic)."""

    def __init__(self, size: int, resize: int | None = None, interpolation: str = "bicubic") -> None:
        self.size = size
        # MAE keeps the 224/256 proportion below 384 (its util/datasets.py); for larger sizes pass resize=size.
        self.resize = int(size * 256 / 224) if resize is None else resize
        self.interpolation = INTERPOLATION[interpolation]

    def transform(self, results: dict) -> dict:
        """img: PIL image of any size -> img: PIL image of [size, size]."""
        image = tv.resize(results["img"], self.resize, self.interpolation)
        results["img"] = tv.center_crop(image, [self.size, self.size])
        results["img_shape"] = results["img"].size[::-1]
        return results


@TRANSFORMS.register_module()
class PackImages(BaseTransform):
    """img -> dict(inputs: [3, H, W] uint8 RGB, data_samples: DataSample with gt_label if known and `meta_keys`)."""

    def __init__(
        self, meta_keys: Sequence[str] = ("img_path", "ori_shape", "img_shape", "sample_idx", "erasing")
    ) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        """The last transform of every classification and pre-training pipeline."""
        sample = DataSample(metainfo={key: results[key] for key in self.meta_keys if key in results})
        if "gt_label" in results:
            sample.set_gt_label(results["gt_label"])
        return {"inputs": tv.pil_to_tensor(results["img"]), "data_samples": sample}
