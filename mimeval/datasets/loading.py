"""Reading an image or a label map inside a pipeline, ours or OpenMMLab's: whole, or known to be damaged, or as if it were black."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from PIL import Image

from mimeval.datasets.transforms import FORMATS, LoadRGB, read_rgb, why_unreadable
from mimeval.errors import DamagedSample

IGNORED = 255  # mmseg's label of pixels that do not count
_UNKNOWN_SIZE = (224, 224)


def read_whole(transform: Any, data: dict) -> Any:
    """`transform(data)`.

    Raises:
        DamagedSample: the transform reads an image or a label map, and the file is missing, cut short or no image.
    """
    file = None
    if isinstance(transform, LoadImageFromFile):
        file, kind = data.get("img_path"), "image"
    elif isinstance(transform, LoadAnnotations) and getattr(transform, "with_seg", False):
        file, kind = data.get("seg_map_path"), "label map"
    if file is None:
        return transform(data)
    try:
        return transform(data)
    except MemoryError:
        raise
    except Exception as error:
        if kind == "label map" and _decodes(file):
            raise  # the file is well: something else is wrong
        reason = "missing" if not os.path.exists(file) else why_unreadable(error, file)
        message = (
            f"{kind} {file}: expected a file that can be read, found a damaged one ({reason}); replace or remove it"
        )
        raise DamagedSample(message, file, reason) from error


def _decodes(file: str) -> bool:
    try:
        read_rgb(file)
    except DamagedSample:
        return False
    return True


def black_image(transform: Any, data: dict) -> dict:
    """What a loader of images would return for a black image of the size that the annotations or a header tell."""
    height, width = _size(data)
    if isinstance(transform, LoadRGB):
        data["img"] = Image.new("RGB", (width, height))
    else:
        data["img"] = np.zeros((height, width, 3), np.float32 if transform.to_float32 else np.uint8)
    data["img_shape"] = data["ori_shape"] = (height, width)
    return data


def without_labels(data: dict) -> dict:
    """What mmseg's LoadAnnotations would return for a label map in which no pixel is labelled."""
    data["gt_seg_map"] = np.full(data["ori_shape"], IGNORED, np.uint8)
    data["seg_fields"].append("gt_seg_map")
    return data


def _size(data: dict) -> tuple[int, int]:
    """(H, W): by COCO's annotations, the label map's header, the image's own header, or any."""
    if data.get("height") and data.get("width"):
        return int(data["height"]), int(data["width"])
    for file in (data.get("seg_map_path"), data.get("img_path")):
        try:
            with Image.open(Path(str(file)), formats=FORMATS) as image:
                return image.size[::-1]
        except Exception:  # whatever keeps a header from being read
            continue
    return _UNKNOWN_SIZE
