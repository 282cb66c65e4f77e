"""Small data folders in the three layouts, without a fault, to plant faults in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (20, 16)  # width, height


def save(path: Path, number: int, mode: str = "RGB", size: tuple[int, int] = SIZE, **options) -> Path:
    """An image of noise that no other number has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **options)
    return path


def imagenet(root: Path) -> Path:
    """Three classes, four training and two validation images each, in JPEG."""
    for label, name in enumerate(("ant", "bee", "cat")):
        for number in range(4):
            save(root / "train" / name / f"{name}_{number}.JPEG", 100 * label + number)
        for number in range(2):
            save(root / "val" / name / f"ILSVRC2012_val_{number:08}.JPEG", 100 * label + 50 + number)
    return root


def coco(root: Path) -> Path:
    """Two categories, five training and three validation images, a polygon and run lengths on each."""
    for split, count, first in (("train2017", 5, 0), ("val2017", 3, 500)):
        images, annotations = [], []
        for number in range(count):
            name = f"{first + number:012}.jpg"
            save(root / split / name, 1000 + first + number)
            images.append(dict(id=first + number, file_name=name, width=SIZE[0], height=SIZE[1]))
            polygon = [2.0, 2.0, 10.0, 2.0, 10.0, 8.0, 2.0, 8.0]
            lengths = dict(size=[SIZE[1], SIZE[0]], counts=[16, 4, SIZE[0] * SIZE[1] - 20])
            for category, mask in ((1, [polygon]), (2, lengths)):
                annotations.append(
                    dict(id=10 * (first + number) + category, image_id=first + number, category_id=category,
                         bbox=[2.0, 2.0, 8.0, 6.0], area=48.0, iscrowd=0, segmentation=mask)
                )  # fmt: skip
        categories = [dict(id=1, name="dog"), dict(id=2, name="tree")]
        content = dict(images=images, annotations=annotations, categories=categories)
        file = root / "annotations" / f"instances_{split}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content))
    return root


def ade20k(root: Path) -> Path:
    """Three classes, five training and three validation images with label maps that show them all."""
    for split, count, first in (("training", 5, 0), ("validation", 3, 500)):
        stated = {"training": "train", "validation": "val"}[split]
        for number in range(count):
            name = f"ADE_{stated}_{number:08}"
            save(root / "images" / split / f"{name}.jpg", 2000 + first + number)
            labels(root / "annotations" / split / f"{name}.png", [0, 1, 2, 3])
    return root


def labels(path: Path, values: list[int], size: tuple[int, int] = SIZE, kind=np.uint8) -> Path:
    """A label map with vertical stripes of these values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stripes = np.array(values, kind)[np.arange(size[0]) * len(values) // size[0]]
    Image.fromarray(np.repeat(stripes[None], size[1], 0)).save(path)
    return path


def edited(file: Path, change) -> None:
    """Change a JSON file's content in place."""
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def cut(file: Path, share: float = 0.6) -> None:
    """Keep the first part of a file."""
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
