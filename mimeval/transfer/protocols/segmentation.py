"""Semantic segmentation: UperNet on ADE20K-format data, mean intersection over union of the classes."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from mimeval.transfer.pictures import save_label_maps
from mimeval.transfer.protocols.base import Outcome, train_and_evaluate

METRIC = "mIoU"
VERSION = 2


def run(cfg: Config, prefix: str) -> Outcome:
    """Trains the segmentor and reports mIoU after the last iteration, each label map at its own size."""
    trained = train_and_evaluate(cfg, prefix)
    save_label_maps(trained.predictions(), Path(cfg.work_dir, "predictions"))
    return trained.outcome(trained.metrics["mIoU"], trained.metrics, "last iteration")
