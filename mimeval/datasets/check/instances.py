"""COCO's boxes and masks held against the image's size. Masks are checked here and not by pycocotools, which reads any bytes it is given."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from numbers import Real
from typing import Any

TOLERANCE = 1.0  # pixels: annotators and their tools round


def check_instances(
    instances: Iterable[dict[str, Any]], size: tuple[int, int] | None
) -> Iterator[tuple[str, Any, str]]:
    """(kind, annotation id, detail) for each box or mask that is wrong; size: (width, height), None if unknown."""
    for instance in instances:
        number = instance.get("id")
        if reason := _wrong_box(instance.get("bbox"), size):
            yield "box", number, reason
        if reason := _wrong_mask(instance.get("segmentation"), size):
            yield "mask", number, reason


def _numbers(values: Any) -> bool:
    return isinstance(values, Sequence) and all(
        isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value) for value in values
    )


def _wrong_box(box: Any, size: tuple[int, int] | None) -> str:
    if not _numbers(box) or len(box) != 4:
        return f"box {str(box)[:80]} instead of x, y, width, height"
    x, y, width, height = box
    if width <= 0 or height <= 0:
        return f"box {list(box)} without area"
    if size is not None and not _inside((x, x + width), (y, y + height), size):
        return f"box {list(box)} outside the image of {size[0]} x {size[1]}"
    return ""


def _inside(xs: Sequence[float], ys: Sequence[float], size: tuple[int, int]) -> bool:
    return (
        min(xs) >= -TOLERANCE
        and min(ys) >= -TOLERANCE
        and max(xs) <= size[0] + TOLERANCE
        and max(ys) <= size[1] + TOLERANCE
    )


def _wrong_mask(mask: Any, size: tuple[int, int] | None) -> str:
    if mask is None or mask == []:
        return ""  # boxes only, which is said once for the whole file
    if isinstance(mask, dict):
        return _wrong_run_lengths(mask, size)
    if not isinstance(mask, list):
        return f"segmentation is a {type(mask).__name__} instead of polygons or run lengths"
    area = 0.0
    for polygon in mask:
        if not _numbers(polygon) or len(polygon) < 6 or len(polygon) % 2:
            count = len(polygon) if isinstance(polygon, list) else type(polygon).__name__
            return f"polygon of {count} numbers instead of x, y of 3 points or more"
        xs, ys = polygon[::2], polygon[1::2]
        if size is not None and not _inside(xs, ys, size):
            return f"polygon outside the image of {size[0]} x {size[1]}"
        area += abs(sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))) / 2
    return "" if area > 0 else "polygons without area"


def _wrong_run_lengths(mask: dict, size: tuple[int, int] | None) -> str:
    shape: Any = mask.get("size")
    counts: Any = mask.get("counts")
    if not _numbers(shape) or len(shape) != 2 or min(shape) <= 0:
        return f"run lengths of size {str(shape)[:40]} instead of height, width"
    if size is not None and (shape[1], shape[0]) != size:
        return f"run lengths of {shape[1]} x {shape[0]}, the image is {size[0]} x {size[1]}"
    if isinstance(counts, str):
        counts = uncompressed(counts)
    if not isinstance(counts, list) or not all(isinstance(count, int) and count >= 0 for count in counts):
        return "run lengths that cannot be decoded"
    if sum(counts) != shape[0] * shape[1]:
        return f"run lengths of {sum(counts)} pixels for {shape[0] * shape[1]}"
    return "" if any(counts[1::2]) else "run lengths without area"


def uncompressed(text: str) -> list[int] | None:
    """COCO's compressed run lengths as numbers, None if they are none.

    Six bits a character from '0' on, five of them the number's, the sixth that it goes on; from the fourth number on, the
    difference to the last but one (rleFrString in cocoapi's common/maskApi.c).
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        if len(counts) > 2:
            value += counts[-2]
        counts.append(value)
        value = shift = 0
    return None if shift else counts
