"""Which anchors learn which object, as detectron2 decides it."""

from __future__ import annotations

import torch
from torch import Tensor

from mimeval.engine import mmcv_ops
from mimeval.registry import TASK_UTILS

# mmdet wants mmcv's compiled operators, or their stand-in, when it is imported.
mmcv_ops.install()

from mmdet.models.task_modules.assigners import AssignResult, MaxIoUAssigner  # noqa: E402


@TASK_UTILS.register_module()
class Detectron2Assigner(MaxIoUAssigner):
    """mmdet's assigner with detectron2's rule for objects that no anchor overlaps well (modeling/matcher.py).

    The anchors that overlap an object best are positive however little they overlap it, and learn the object that they
    themselves overlap best. mmdet would hand all of them to the first object: one of a few pixels lies inside dozens of
    anchors, overlaps each of them best, and would take them from the larger objects around it.
    """

    def __init__(self, pos_iou_thr: float, neg_iou_thr: float, match_low_quality: bool) -> None:
        super().__init__(pos_iou_thr, neg_iou_thr, match_low_quality=False)
        self.match_best = match_low_quality

    def assign_wrt_overlaps(self, overlaps: Tensor, gt_labels: Tensor) -> AssignResult:
        """overlaps: [objects, anchors]; gt_inds of the result: 1 + object, 0 for background, -1 for neither."""
        result = super().assign_wrt_overlaps(overlaps, gt_labels)
        if self.match_best and overlaps.numel():
            best = (overlaps == overlaps.amax(dim=1, keepdim=True)).any(dim=0)
            own = overlaps.argmax(dim=0)
            result.gt_inds = torch.where(best, own + 1, result.gt_inds)
            result.labels = torch.where(best, gt_labels[own], result.labels)
        return result
