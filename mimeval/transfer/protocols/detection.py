"""Detection and instance segmentation: Mask R-CNN on COCO-format data, AP of boxes and masks by pycocotools.

A config without model.roi_head.mask_head is Faster R-CNN, for annotations that have boxes only; it reports boxes only.
"""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from mimeval.errors import UserError
from mimeval.transfer.pictures import save_detections
from mimeval.transfer.protocols.base import Outcome, train_and_evaluate

METRIC = "box AP"
VERSION = 2


def run(cfg: Config, prefix: str) -> Outcome:
    """Trains the detector and reports box AP (0.5 to 0.95) after the last iteration; mask AP is `segm_mAP` of the metrics.

    Raises:
        UserError: masks are to be measured and the detector predicts none, or the other way round; and as train_and_evaluate.
    """
    check_masks(cfg)
    trained = train_and_evaluate(cfg, prefix)
    metrics = {name.removeprefix("coco/"): value for name, value in trained.metrics.items()}
    save_detections(trained.predictions(), trained.dataset.metainfo["classes"], Path(cfg.work_dir, "predictions"))
    return trained.outcome(metrics["bbox_mAP"], metrics, "last iteration")


def check_masks(cfg: Config) -> None:
    """Raises UserError unless the mask head and the metrics go together."""
    has_head = bool(cfg.model.roi_head.get("mask_head"))
    metrics = cfg.val_evaluator.get("metric") or ["bbox"]
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    if has_head != ("segm" in metrics):
        raise UserError(
            f"config {cfg.filename}: model.roi_head.mask_head is {'there' if has_head else 'None'}, but val_evaluator.metric is "
            f"{metrics}; " + ("add 'segm' to it" if has_head else "set it to ['bbox']")
        )
    if "bbox" not in metrics:
        raise UserError(
            f"config {cfg.filename}: val_evaluator.metric is {metrics}, but box AP is reported; add 'bbox'."
        )
