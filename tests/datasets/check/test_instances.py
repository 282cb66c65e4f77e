"""Boxes and masks: what passes decodes in pycocotools to the same mask, what does not is named."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mimeval.datasets.check.instances import check_instances, uncompressed

SIZE = (30, 20)
BOX = [2.0, 3.0, 10.0, 8.0]
POLYGON = [2.0, 3.0, 12.0, 3.0, 12.0, 11.0]


def wrong(box=BOX, mask=None):
    instance = dict(id=7, bbox=box, segmentation=[POLYGON] if mask is None else mask)
    found = list(check_instances([instance], SIZE))
    assert all(number == 7 for _, number, _ in found)
    return [(kind, detail) for kind, _, detail in found]


@pytest.mark.parametrize("seed", range(20))
def test_compressed_run_lengths_are_read_as_pycocotools_writes_them(seed):
    generator = np.random.default_rng(seed)
    blocks = np.kron(generator.random((5, 6)) < 0.5, np.ones((4, 5), bool))
    mask = blocks ^ (generator.random((20, 30)) < 0.02 * seed)
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.r_[0, edges, flat.size]).tolist()
    assert uncompressed(encoded["counts"].decode()) == ([0, *lengths] if flat[0] else lengths)
    encoded["counts"] = encoded["counts"].decode()
    assert wrong(mask=encoded) == ([] if mask.any() else [("mask", "run lengths without area")])


@pytest.mark.parametrize("text", ["~", "P", "\x00", "é"])
def test_text_that_is_no_run_lengths(text):
    assert uncompressed(text) is None


@pytest.mark.parametrize("box", [[0, 0, 30, 20], [-0.9, 0, 30.5, 20], [29, 19, 1.5, 1.5]])
def test_boxes_within_a_pixel_of_the_image_pass(box):
    assert wrong(box) == []


@pytest.mark.parametrize(
    "box, says",
    [
        ([5, 5, 0, 4], "without area"),
        ([5, 5, 4, -1], "without area"),
        ([25, 5, 10, 4], "outside the image of 30 x 20"),
        ([-4, 5, 10, 4], "outside"),
        ([1, 2, 3], "instead of x, y, width, height"),
        ([1, 2, 3, float("nan")], "instead of"),
        ([1, 2, 3, "4"], "instead of"),
        ("none", "instead of"),
        (None, "instead of"),
        ({"x": 1}, "instead of"),
    ],
)
def test_boxes_that_are_none(box, says):
    ((kind, detail),) = wrong(box)
    assert kind == "box" and says in detail


@pytest.mark.parametrize(
    "mask, says",
    [
        ([[1.0, 2.0, 3.0, 4.0]], "polygon of 4 numbers"),
        ([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]], "polygon of 7 numbers"),
        ([POLYGON, "abcdef"], "polygon of str numbers"),
        ([[1.0, 2.0, 3.0, 4.0, 5.0, None]], "polygon of 6 numbers"),
        ([[1.0, 2.0, 300.0, 4.0, 5.0, 6.0]], "polygon outside"),
        ([[1e12, 2.0, 3.0, 4.0, 5.0, 6.0]], "polygon outside"),
        ([[1.0, 1.0, 2.0, 2.0, 3.0, 3.0]], "polygons without area"),
        ("text", "segmentation is a str"),
        ({"counts": [1]}, "run lengths of size None"),
        ({"size": [20, 30], "counts": [1, 2]}, "run lengths of 3 pixels for 600"),
        ({"size": [20, 30], "counts": [600]}, "run lengths without area"),
        ({"size": [20, 30], "counts": [1, -2, 601]}, "cannot be decoded"),
        ({"size": [20, 30], "counts": None}, "cannot be decoded"),
        ({"size": [20, 30], "counts": "~~~"}, "cannot be decoded"),
        ({"size": [30, 20], "counts": [300, 300]}, "run lengths of 20 x 30, the image is 30 x 20"),
    ],
)
def test_masks_that_are_none(mask, says):
    ((kind, detail),) = wrong(mask=mask)
    assert kind == "mask" and says in detail


def test_without_a_size_only_the_form_is_checked():
    instance = dict(id=1, bbox=[900, 900, 1, 1], segmentation=dict(size=[2, 2], counts=[1, 3]))
    assert list(check_instances([instance], None)) == []
