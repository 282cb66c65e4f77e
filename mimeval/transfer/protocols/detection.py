"""Detection and instance segmentation: Mask R-CNN on COCO-format data, AP of boxes and masks by pycocotools."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from mimeval.transfer.pictures import save_detections
from mimeval.transfer.protocols.base import Outcome, train_and_evaluate

METRIC = "box AP"
VERSION = 1


def run(cfg: Config, prefix: str) -> Outcome:
    """Trains the detector and reports box AP (0.5 to 0.95) after the last iteration; mask AP is `segm_mAP` of the metrics."""
    trained = train_and_evaluate(cfg, prefix)
    metrics = {name.removeprefix("coco/"): value for name, value in trained.metrics.items()}
    save_detections(trained.predictions(), trained.dataset.metainfo["classes"], Path(cfg.work_dir, "predictions"))
    return trained.outcome(metrics["bbox_mAP"], metrics, "last iteration")
