"""Large-scale jitter against detectron2's arithmetic, written down here: the same random numbers, pixels, boxes and polygons.

Sources: detectron2 data/dataset_mapper.py, data/transforms/augmentation_impl.py and transform.py, structures/masks.py; fvcore's
CropTransform.apply_polygons. Its order is flip, scale, crop (projects/ViTDet, coco_loader_lsj.py).
"""

import numpy as np
import pycocotools.mask as coco_mask
import pytest
import torch
from mmengine.dataset import Compose
from PIL import Image
from shapely import geometry

from mimeval.engine import mmcv_ops
from mimeval.engine.environment import setup_environment
from mimeval.errors import UserError
from mimeval.registry import TRANSFORMS

mmcv_ops.install()
setup_environment()

SIDE = 64
JITTER = [
    dict(type="mimeval.LoadInstances"),
    dict(type="mmdet.RandomFlip", prob=0.5),
    dict(type="mimeval.ResizeScale", size=(SIDE, SIDE), scale=(0.1, 2.0)),
    dict(type="mimeval.FixedSizeCrop", size=(SIDE, SIDE)),
]
# Two objects of one and of two parts, one along the border, one tiny; x, y, x, y, ...
POLYGONS = [
    [[10.5, 5.25, 30.0, 8.0, 26.5, 31.75, 12.0, 28.0]],
    [[40.0, 20.0, 50.5, 22.0, 47.0, 35.5], [52.0, 30.0, 58.0, 30.0, 55.0, 38.0]],
    [[60.0, 0.0, 74.0, 0.0, 74.0, 51.0, 66.0, 40.0]],
    [[3.0, 44.0, 3.6, 44.2, 3.3, 44.7]],
]
HEIGHT, WIDTH = 52, 75


def pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def instances(masks, crowd=()):
    def one(k, mask):
        x, y = np.array(mask[0]).reshape(-1, 2).T if isinstance(mask, list) else ([5.0, 15.0], [5.0, 15.0])
        box = [min(x), min(y), max(x), max(y)]
        return dict(bbox=box, bbox_label=k, ignore_flag=int(k in crowd), **({} if mask is None else dict(mask=mask)))

    return [one(k, mask) for k, mask in enumerate(masks)]


def ours(image: np.ndarray, masks, pipeline=JITTER, **kwargs) -> dict:
    shape = dict(ori_shape=image.shape[:2], img_shape=image.shape[:2], height=HEIGHT, width=WIDTH, img_path="x.jpg")
    return Compose([TRANSFORMS.build(step) for step in pipeline])(
        dict(img=image.copy(), instances=instances(masks, **kwargs), **shape)
    )


def cut(polygons: list[np.ndarray], x0: float, y0: float) -> list[np.ndarray]:
    """fvcore's CropTransform.apply_polygons: the parts of each polygon inside the crop, moved."""
    crop, parts = geometry.box(x0, y0, x0 + SIDE, y0 + SIDE).buffer(0.0), []
    for polygon in polygons:
        inside = geometry.Polygon(polygon).buffer(0.0).intersection(crop)
        for part in getattr(inside, "geoms", [inside]):
            if isinstance(part, geometry.Polygon) and part.is_valid and not part.is_empty:
                parts.append(np.asarray(part.exterior.coords)[:-1] - (x0, y0))
    return parts


def detectron2(image: np.ndarray, masks) -> tuple[np.ndarray, list, list, list]:
    """Image, boxes, labels and polygons of what is left."""
    objects = [[np.array(polygon).reshape(-1, 2) for polygon in mask] for mask in masks]
    if np.random.uniform(0, 1.0) < 0.5:
        image = np.flip(image, axis=1)
        objects = [[np.stack([WIDTH - p[:, 0], p[:, 1]], axis=1) for p in mask] for mask in objects]
    target = np.multiply((SIDE, SIDE), np.random.uniform(0.1, 2.0))
    factor = np.minimum(target[0] / HEIGHT, target[1] / WIDTH)
    rows, columns = np.round(np.multiply((HEIGHT, WIDTH), factor)).astype(int)
    image = np.asarray(Image.fromarray(image).resize((columns, rows), Image.BILINEAR))
    objects = [[p * (columns / WIDTH, rows / HEIGHT) for p in mask] for mask in objects]
    offset = np.maximum(np.subtract(image.shape[:2], (SIDE, SIDE)), 0)
    y0, x0 = np.round(np.multiply(offset, np.random.uniform(0.0, 1.0))).astype(int)
    image = image[y0 : y0 + SIDE, x0 : x0 + SIDE]
    boxes, labels, left = [], [], []
    for label, mask in enumerate(objects):
        parts = cut(mask, x0, y0)
        if not parts:
            continue
        corners = np.concatenate(parts)
        box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
        if (box[2:] - box[:2] > 1e-5).all():
            boxes.append(box)
            labels.append(label)
            left.append(parts)
    return image, boxes, labels, left


def test_pixels_boxes_and_polygons_are_detectron2s():
    counts, flips = set(), 0
    for seed in range(60):
        image = pixels(seed)
        np.random.seed(seed)
        expected, boxes, labels, polygons = detectron2(image, POLYGONS)
        after = np.random.uniform()
        np.random.seed(seed)
        found = ours(image, POLYGONS)
        assert np.random.uniform() == after, "as many random numbers"
        assert np.array_equal(found["img"], expected) and found["img_shape"] == expected.shape[:2]
        assert found["gt_bboxes_labels"].tolist() == labels
        np.testing.assert_allclose(found["gt_bboxes"].tensor.numpy(), np.reshape(boxes, (-1, 4)), rtol=0, atol=1e-4)
        assert len(found["gt_masks"]) == len(labels)
        for mask, parts in zip(found["gt_masks"].masks, polygons, strict=True):
            assert len(mask) == len(parts)
            for ours_part, part in zip(mask, parts, strict=True):
                np.testing.assert_allclose(ours_part.reshape(-1, 2), part, rtol=0, atol=1e-9)
        counts.add(len(labels))
        flips += found["flip"]
    assert len(counts) > 2 and 20 < flips < 40  # some objects are cut away, and half of the images are mirrored


def test_mask_targets_are_detectron2s():
    """structures/masks.py, rasterize_polygons_within_box: shift, scale, rasterise with pycocotools."""
    found = ours(pixels(0), POLYGONS[:3], JITTER[:1])
    boxes = np.array([[8.0, 4.5, 31.25, 33.0], [38.5, 18.0, 60.0, 40.0], [55.0, -3.0, 80.0, 55.5]])
    targets = found["gt_masks"].crop_and_resize(boxes, (28, 28), np.arange(3)).to_ndarray()
    for mask, (x1, y1, x2, y2), target in zip(POLYGONS, boxes, targets, strict=False):
        moved = [
            ((np.array(p).reshape(-1, 2) - (x1, y1)) * (28 / max(x2 - x1, 0.1), 28 / max(y2 - y1, 0.1))).ravel()
            for p in mask
        ]
        expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([p.tolist() for p in moved], 28, 28)))
        assert np.array_equal(target, expected) and 0 < expected.mean() < 1


def test_crowds_are_left_out_and_run_lengths_become_bitmaps():
    bitmap = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    bitmap[10:30, 20:45] = 1
    encoded = coco_mask.encode(bitmap)
    encoded["counts"] = encoded["counts"].decode()  # as JSON has it
    only_polygons = ours(pixels(0), [*POLYGONS[:2], encoded], JITTER[:1], crowd=(2,))
    assert only_polygons["gt_bboxes_labels"].tolist() == [0, 1] and isinstance(only_polygons["gt_masks"].masks, list)
    mixed = ours(pixels(0), [POLYGONS[0], encoded], JITTER[:1])
    assert mixed["gt_masks"].masks.shape == (2, HEIGHT, WIDTH) and np.array_equal(mixed["gt_masks"].masks[1], bitmap)
    np.random.seed(3)
    jittered = ours(pixels(0), [POLYGONS[0], encoded])
    for mask, box in zip(jittered["gt_masks"].masks, jittered["gt_bboxes"].tensor.numpy(), strict=True):
        rows, columns = np.nonzero(mask)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_without_masks_boxes_are_cut():
    pipeline = [dict(JITTER[0], with_mask=False), *JITTER[1:]]
    seen_cut = False
    for seed in range(20):
        np.random.seed(seed)
        found = ours(pixels(seed), [None, None], pipeline)
        height, width = found["img_shape"]
        boxes = found["gt_bboxes"].tensor
        assert "gt_masks" not in found and ((boxes[:, 2:] - boxes[:, :2]) > 1e-5).all()
        assert (boxes >= 0).all() and (boxes <= torch.tensor([width, height, width, height])).all()
        seen_cut |= len(boxes) < 2
    assert seen_cut
    with pytest.raises(
        UserError, match=r"image x.jpg: expected a segmentation for each object, found boxes only; set with"
    ):
        ours(pixels(0), [POLYGONS[0], None])


def test_what_is_drawn_over_many_images():
    """Scale uniform from 0.1 to 2: 47 % need no crop; the crop slides along the diagonal; an image may end without objects."""
    sizes, places, empty = [], [], 0
    for seed in range(1500):
        np.random.seed(seed)
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        image[..., 0], image[..., 1] = np.arange(WIDTH), np.arange(HEIGHT)[:, None]
        found = ours(image, POLYGONS[3:], JITTER[:1] + JITTER[2:])
        columns, rows = np.multiply(found["scale_factor"], (WIDTH, HEIGHT)).round().astype(int)
        sizes.append(columns / SIDE)  # the longer side
        if rows > SIDE + 10:  # with less the place is not to be read from a pixel's colour
            x, y = (found["img"][0, 0, :2] + 0.5) * found["scale_factor"] - 0.5
            places.append((max(x, 0) / (columns - SIDE), max(y, 0) / (rows - SIDE)))
        empty += not len(found["gt_bboxes"])
    assert np.mean(sizes) == pytest.approx(1.05, abs=0.03) and np.std(sizes) == pytest.approx(1.9 / 12**0.5, abs=0.02)
    assert min(sizes) < 0.12 and max(sizes) > 1.98
    assert np.mean(np.array(sizes) <= 1) == pytest.approx(0.9 / 1.9, abs=0.03)
    x, y = np.array(places).T
    assert np.corrcoef(x, y)[0, 1] > 0.95 and np.mean(x) == pytest.approx(0.5, abs=0.06)
    assert 0.1 < empty / 1500 < 0.5  # mmdet would have drawn another image for these
