"""Random batches as a data loader would hand them over, for measuring what a step costs without any data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData

from mimeval.datasets.layouts import inner_config
from mimeval.errors import UserError

# Instances of a random image: COCO has 7 on average.
INSTANCES = 7
SEED = 0


def random_batch(cfg: Config, batch: int, size: int | None = None) -> dict[str, Any]:
    """`inputs` ([B, 3, S, S] uint8, a list of images for detection and segmentation) and `data_samples` with truth.

    size: S in pixels; by default what the config trains at. Raises UserError for a model of no known kind, or without a size.
    """
    kind = model_kind(cfg)
    side = size or _side(cfg, kind)
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8, generator=generator)
    random = np.random.default_rng(SEED)
    make = {"pretrain": _keyed, "classifier": _labelled, "detector": _instances, "segmentor": _label_map}[kind]
    samples = [make(cfg, random, side, index) for index in range(batch)]
    return {"inputs": images if kind in ("pretrain", "classifier") else list(images), "data_samples": samples}


def model_kind(cfg: Config) -> str:
    """pretrain, classifier, detector or segmentor, by the parts that the model has. Raises UserError for none of these."""
    model = cfg.get("model") or {}
    for part, kind in (
        ("masking", "pretrain"),
        ("roi_head", "detector"),
        ("decode_head", "segmentor"),
        ("head", "classifier"),
    ):
        if part in model:
            return kind
    raise UserError(
        f"config {cfg.filename}: expected a model that is pre-trained, or a classifier, detector or segmentor with a head "
        f"to train, found {model.get('type', 'none')}; a step of it cannot be measured."
    )


def _side(cfg: Config, kind: str) -> int:
    # The last step of the training pipeline that has a size gives it, or else the backbone is made for one.
    steps = (inner_config(cfg.get("train_dataloader")).get("pipeline")) or []
    sizes = [step[key] for step in steps for key in ("crop_size", "size", "scale") if key in step]
    # The scale of a random resized crop is a share of the area, which comes before its size.
    found = [size for size in sizes if isinstance(size, int) or isinstance(size[0], int)]
    own = [size for size in [cfg.model.backbone.get("img_size")] if size]
    # Masks are made for the backbone's own grid.
    found = own or found if kind == "pretrain" else found or own
    if not found:
        raise UserError(
            f"config {cfg.filename}: expected the size of its training images in train_dataloader, found none; "
            "give it with --size"
        )
    return found[-1] if isinstance(found[-1], int) else max(found[-1])


def _keyed(cfg: Config, random: np.random.Generator, side: int, index: int) -> Any:
    from mmpretrain.structures import DataSample

    return DataSample(metainfo={"sample_key": (SEED, 0, index)})


def _labelled(cfg: Config, random: np.random.Generator, side: int, index: int) -> Any:
    sample = _keyed(cfg, random, side, index)
    return sample.set_gt_label(int(random.integers(cfg.model.head.num_classes)))


def _instances(cfg: Config, random: np.random.Generator, side: int, index: int) -> Any:
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks

    # Sides from a tenth of the image to a half; masks fill their boxes.
    sizes = random.uniform(side / 10, side / 2, (INSTANCES, 2))
    corners = random.uniform(0, side - sizes)
    boxes = np.concatenate([corners, corners + sizes], axis=1).astype(np.float32)
    masks = np.zeros((INSTANCES, side, side), np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
        mask[y1:y2, x1:x2] = 1
    classes = cfg.model.roi_head.bbox_head.num_classes
    truth = InstanceData(
        bboxes=HorizontalBoxes(torch.from_numpy(boxes)),
        labels=torch.from_numpy(random.integers(classes, size=INSTANCES)),
        masks=BitmapMasks(masks, side, side),
    )
    shape = dict(img_shape=(side, side), ori_shape=(side, side), scale_factor=(1.0, 1.0), pad_shape=(side, side))
    return DetDataSample(gt_instances=truth, metainfo=shape)


def _label_map(cfg: Config, random: np.random.Generator, side: int, index: int) -> Any:
    from mmseg.structures import SegDataSample

    labels = torch.from_numpy(random.integers(cfg.model.decode_head.num_classes, size=(1, side, side)))
    shape = dict(img_shape=(side, side), ori_shape=(side, side))
    return SegDataSample(gt_sem_seg=PixelData(data=labels), metainfo=shape)
