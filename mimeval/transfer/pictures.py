"""Predictions beside the truth, one PNG for each image: `<place>.png`, truth on the left where there are two halves."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mimeval.datasets.transforms import read_rgb
from mimeval.errors import DamagedSample

MIN_SIDE = 128  # small images are enlarged by a whole factor, pixel by pixel
MAX_SIDE = 512
SCORE = 0.3  # detections below it are not drawn
_CAPTION = 14


def save_classified(samples: Iterable[Any], classes: Sequence[str], folder: Path) -> None:
    """Each image over `predicted (true)`; green if right, red if wrong."""
    for place, sample in enumerate(samples):
        image, _ = _enlarged(_seen(sample))
        predicted, true = int(sample.pred_label), int(sample.gt_label)
        colour = (0, 130, 60) if predicted == true else (200, 30, 30)
        _save(_captioned(image, f"{classes[predicted]} (true {classes[true]})", colour), folder, place)


def save_detections(samples: Iterable[Any], classes: Sequence[str], folder: Path) -> None:
    """Boxes, masks if there are any, classes: truth on the left, on the right what is predicted with at least SCORE."""
    for place, sample in enumerate(samples):
        image = _seen(sample)
        truth, predicted = sample.gt_instances, sample.pred_instances
        sure = predicted[predicted.scores >= SCORE]
        names = [
            f"{classes[int(label)]} {float(score):.2f}" for label, score in zip(sure.labels, sure.scores, strict=True)
        ]
        left = _instances(image, truth, [classes[int(i)] for i in truth.labels])
        right = _instances(image, sure, names)
        _save(_beside(_captioned(left, "truth"), _captioned(right, "predicted")), folder, place)


def save_label_maps(samples: Iterable[Any], folder: Path) -> None:
    """Label maps over the image: truth on the left, prediction on the right; what is not labelled stays as it is."""
    for place, sample in enumerate(samples):
        image = _seen(sample)
        truth, predicted = (item.data.squeeze(0).cpu().numpy() for item in (sample.gt_sem_seg, sample.pred_sem_seg))
        left, right = (_enlarged(_painted(image, labels))[0] for labels in (truth, predicted))
        _save(_beside(_captioned(left, "truth"), _captioned(right, "predicted")), folder, place)


def _seen(sample: Any) -> Image.Image:
    """The sample's image; black where its file is damaged, as the model saw it."""
    try:
        return read_rgb(sample.img_path)
    except DamagedSample:
        height, width = sample.ori_shape
        return Image.new("RGB", (width, height))


def colour_of(label: int) -> tuple[int, int, int]:
    """A colour for a class: hues a golden angle apart, so that neighbours differ."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618034 % 1.0, 0.85, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _instances(image: Image.Image, instances: Any, names: Sequence[str]) -> Image.Image:
    pixels = np.asarray(image, np.float32).copy()
    if "masks" in instances:
        masks = instances.masks
        # Truth in mmdet's own containers, polygons among them; predictions as a tensor.
        arrays = masks.to_ndarray() if hasattr(masks, "to_ndarray") else masks.cpu().numpy()
        for mask, label in zip(arrays, instances.labels, strict=True):
            inside = np.asarray(mask, bool)
            pixels[inside] = 0.5 * pixels[inside] + 0.5 * np.array(colour_of(int(label)), np.float32)
    drawn, factor = _enlarged(Image.fromarray(pixels.astype(np.uint8)))
    pen = ImageDraw.Draw(drawn)
    for box, label, name in zip(instances.bboxes, instances.labels, names, strict=True):
        x1, y1, x2, y2 = (float(side) * factor for side in box)
        pen.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=colour_of(int(label)), width=2)
        pen.text((x1 + 3, y1 + 1), name, fill=(255, 255, 255), stroke_width=1, stroke_fill=(0, 0, 0))
    return drawn


def _painted(image: Image.Image, labels: np.ndarray, unlabelled: int = 255) -> Image.Image:
    pixels = np.asarray(image, np.float32).copy()
    for label in np.unique(labels):
        if label != unlabelled:
            inside = labels == label
            pixels[inside] = 0.35 * pixels[inside] + 0.65 * np.array(colour_of(int(label)), np.float32)
    return Image.fromarray(pixels.astype(np.uint8))


def _enlarged(image: Image.Image) -> tuple[Image.Image, float]:
    """The image at a size that can be looked at, and by how much it was enlarged."""
    width, height = image.size
    factor: float = -(-MIN_SIDE // min(width, height)) if min(width, height) < MIN_SIDE else 1
    factor = min(factor, MAX_SIDE / max(width, height))
    resample = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.BILINEAR
    return image.resize((round(width * factor), round(height * factor)), resample), factor


def _captioned(image: Image.Image, text: str, colour: tuple[int, int, int] = (60, 60, 60)) -> Image.Image:
    canvas = Image.new("RGB", (image.width, image.height + _CAPTION), (255, 255, 255))
    canvas.paste(image, (0, 0))
    ImageDraw.Draw(canvas).text((2, image.height + 1), text, fill=colour)
    return canvas


def _beside(left: Image.Image, right: Image.Image, gap: int = 4) -> Image.Image:
    canvas = Image.new("RGB", (left.width + gap + right.width, max(left.height, right.height)), (255, 255, 255))
    canvas.paste(left, (0, 0))
    canvas.paste(right, (left.width + gap, 0))
    return canvas


def _save(image: Image.Image, folder: Path, place: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    image.save(folder / f"{place:02d}.png")
