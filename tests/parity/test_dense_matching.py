"""Anchors, proposals and box deltas of Mask R-CNN against detectron2's rules, written down here.

Sources: detectron2 modeling/matcher.py, box_regression.py, anchor_generator.py, sampling in proposal_generator/rpn.py and
roi_heads/roi_heads.py, poolers.py.
"""

import math

import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torchvision.ops import box_iou

from mimeval.engine import mmcv_ops
from tests.parity.dense import recipe

mmcv_ops.install()

from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor  # noqa: E402
from mmdet.registry import TASK_UTILS  # noqa: E402

NAME = "maskrcnn_vitdet_vitb"
RATIOS, STRIDES = (0.5, 1.0, 2.0), (4, 8, 16, 32, 64)


@pytest.fixture(autouse=True)
def scope():
    """Bare names are mmdet's, as they are inside the detector (configs say ``_scope_="mmdet"``)."""
    with DefaultScope.overwrite_default_scope("mmdet"):
        yield


def objects(seed: int, count: int, side: int = 256) -> torch.Tensor:
    """Boxes of many sizes, many of them tiny, as jitter by 0.1 makes them; some lie close to each other."""
    random = torch.Generator().manual_seed(seed)
    size = 2 ** (1 + 6.5 * torch.rand(count, 2, generator=random))
    corner = torch.rand(count, 2, generator=random) * (side - size).clamp(min=0)
    boxes = torch.cat([corner, (corner + size).clamp(max=side)], dim=1)
    boxes[1] = boxes[0] + 1.5
    return boxes


def detectron2_anchors(side: int = 256) -> torch.Tensor:
    """DefaultAnchorGenerator, offset 0: sizes 32 to 512, one per level, centred at multiples of the stride."""
    anchors = []
    for stride, size in zip(STRIDES, (32, 64, 128, 256, 512), strict=True):
        cells = []
        for ratio in RATIOS:
            width = math.sqrt(size**2 / ratio)
            cells.append([-width / 2, -ratio * width / 2, width / 2, ratio * width / 2])
        n = math.ceil(side / stride)
        y, x = torch.meshgrid(torch.arange(n) * stride, torch.arange(n) * stride, indexing="ij")
        shift = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
        anchors.append((shift + torch.tensor(cells)).reshape(-1, 4))
    return torch.cat(anchors)


def detectron2_matcher(iou: torch.Tensor, thresholds: list[float], labels: list[int], low_quality: bool):
    """Matcher: index of the best object for each prediction and its label."""
    values, matches = iou.max(dim=0)
    result = torch.ones_like(matches)
    bounds = [-math.inf, *thresholds, math.inf]
    for label, low, high in zip(labels, bounds[:-1], bounds[1:], strict=True):
        result[(values >= low) & (values < high)] = label
    if low_quality:
        result[(iou == iou.max(dim=1).values[:, None]).any(dim=0)] = 1
    return matches, result


def assign(settings, priors: torch.Tensor, truth: torch.Tensor):
    truth = InstanceData(bboxes=truth, labels=torch.arange(len(truth)))
    return TASK_UTILS.build(settings).assign(InstanceData(priors=priors), truth).gt_inds


def test_anchors():
    generator = TASK_UTILS.build(recipe(NAME).model.rpn_head.anchor_generator)
    sizes = [(math.ceil(256 / stride),) * 2 for stride in STRIDES]
    ours = torch.cat(generator.grid_priors(sizes, device="cpu"))
    torch.testing.assert_close(ours, detectron2_anchors(), rtol=0, atol=1e-4)


def test_labels_and_objects_of_anchors():
    settings = recipe(NAME).model.train_cfg.rpn.assigner
    mmdets = dict(settings, type="mmdet.MaxIoUAssigner", min_pos_iou=0.3)
    anchors = detectron2_anchors()
    positives = of_mmdet = 0
    for seed in range(20):
        truth = objects(seed, 12)
        matches, labels = detectron2_matcher(box_iou(truth, anchors), [0.3, 0.7], [0, -1, 1], True)
        expected = torch.where(labels == 1, matches + 1, labels)
        assert torch.equal(assign(settings, anchors, truth), expected)
        positives += int((expected > 0).sum())
        of_mmdet += int((assign(mmdets, anchors, truth) > 0).sum())
    # mmdet's rule, with its usual min_pos_iou, leaves small objects without an anchor.
    assert of_mmdet < 0.2 * positives


def test_an_anchor_learns_the_object_that_it_overlaps_best():
    """A tiny object inside a large one: mmdet gives every anchor around both to the tiny one."""
    settings = recipe(NAME).model.train_cfg.rpn.assigner
    truth = torch.tensor([[100.0, 100.0, 130.0, 132.0], [112.0, 112.0, 115.0, 115.0]])
    anchors = detectron2_anchors()
    ours = assign(settings, anchors, truth)
    mmdets = assign(dict(settings, type="mmdet.MaxIoUAssigner", min_pos_iou=0.0), anchors, truth)
    assert torch.equal(ours > 0, mmdets > 0)
    taken = (ours == 1) & (mmdets == 2)
    assert taken.sum() > 10 and (box_iou(truth[:1], anchors)[0][taken] > 0.3).any()


def test_images_without_objects_are_background():
    settings = recipe(NAME).model.train_cfg.rpn.assigner
    assert (assign(settings, detectron2_anchors(), torch.zeros(0, 4)) == 0).all()


def test_labels_of_proposals():
    settings = recipe(NAME).model.train_cfg.rcnn.assigner
    for seed in range(20):
        truth = objects(seed, 12)
        proposals = torch.cat([objects(seed + 100, 60), truth + 0.5, truth[:4]])
        matches, labels = detectron2_matcher(box_iou(truth, proposals), [0.5], [0, 1], False)
        assert torch.equal(assign(settings, proposals, truth), torch.where(labels == 1, matches + 1, 0))


@pytest.mark.parametrize("part, weights", [("rpn_head", (1, 1, 1, 1)), ("roi_head.bbox_head", (10, 10, 5, 5))])
def test_box_deltas(part, weights):
    """Box2BoxTransform: deltas times weights, sizes clamped at 1000 / 16 before the exponential."""
    settings = recipe(NAME).model
    for key in part.split("."):
        settings = settings[key]
    coder = TASK_UTILS.build(settings.bbox_coder)
    source, target = objects(0, 30), objects(1, 30)
    weight = torch.tensor(weights, dtype=torch.float32)
    size, goal = source[:, 2:] - source[:, :2], target[:, 2:] - target[:, :2]
    centre, aim = source[:, :2] + 0.5 * size, target[:, :2] + 0.5 * goal
    deltas = torch.cat([(aim - centre) / size, (goal / size).log()], dim=1) * weight
    torch.testing.assert_close(coder.encode(source, target), deltas, rtol=1e-5, atol=1e-5)
    wild = deltas * 3
    shift, scale = (wild / weight)[:, :2], (wild / weight)[:, 2:].clamp(max=math.log(1000 / 16)).exp()
    moved, sized = centre + shift * size, size * scale
    expected = torch.cat([moved - 0.5 * sized, moved + 0.5 * sized], dim=1)
    # mmdet holds shrinking to 1 / 62.5 too, where detectron2 lets a box vanish.
    held = ((wild / weight)[:, 2:] >= -math.log(1000 / 16)).all(dim=1)
    assert held.sum() > 15
    torch.testing.assert_close(coder.decode(source, wild)[held], expected[held], rtol=1e-4, atol=1e-2)


def test_levels_of_regions():
    """assign_boxes_to_levels: 4 + log2(sqrt(area) / 224), held between p2 and p5."""
    settings = recipe(NAME).model.roi_head.bbox_roi_extractor.to_dict()
    settings.pop("type")
    extractor = SingleRoIExtractor(**settings)
    boxes = objects(2, 500, side=1024) * 4
    boxes = torch.cat([boxes, torch.tensor([[0, 0, 112.1, 112.1], [0, 0, 223.0, 223.0], [0, 0, 449, 449]])])
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    expected = torch.floor(4 + torch.log2(area.sqrt() / 224 + 1e-8)).clamp(2, 5) - 2
    rois = torch.cat([torch.zeros(len(boxes), 1), boxes], dim=1)
    assert torch.equal(extractor.map_roi_levels(rois, 4), expected.long())
    assert [layer.aligned for layer in extractor.roi_layers] == [True] * 4  # ROIAlignV2
