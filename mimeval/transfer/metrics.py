"""Figures of dense tasks as the suite reports them."""

from __future__ import annotations

import contextlib
import io
import math
from typing import Any

from mimeval.engine import mmcv_ops
from mimeval.registry import METRICS

# mmdet wants mmcv's compiled operators, or their stand-in, when it is imported.
mmcv_ops.install()

from mmdet.evaluation.metrics import CocoMetric  # noqa: E402


@METRICS.register_module()
class CocoInstances(CocoMetric):
    """COCO's AP of boxes and masks by pycocotools, in percent; without a single detection it is 0, and nothing is printed.

    Sizes of which the annotations have no object are left out.
    """

    def __init__(self, **kwargs: Any) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            super().__init__(**kwargs)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Metric name (bbox_mAP, segm_mAP, bbox_mAP_50, ...) -> percent."""
        with contextlib.redirect_stdout(io.StringIO()):
            fractions = super().compute_metrics(results)
        # pycocotools cannot read an empty list of detections and mmdet leaves the figures out.
        figures = {f"{kind}_mAP": 0.0 for kind in self.metrics}
        for name, value in fractions.items():
            if value >= 0 and math.isfinite(value):
                figures[name] = 100.0 * float(value)
        return figures
