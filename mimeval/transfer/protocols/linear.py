"""Linear probe: MAE's (2111.06377, A.1): frozen backbone, BatchNorm without affine parameters, one linear layer, LARS."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from mimeval.errors import UserError
from mimeval.transfer.pictures import save_classified
from mimeval.transfer.protocols.base import Outcome, train_and_evaluate
from mimeval.transfer.protocols.cached import probe

METRIC = "top-1 accuracy"
VERSION = 1


def run(cfg: Config, prefix: str) -> Outcome:
    """Trains the linear layer and reports top-1 after the last epoch. Raises UserError if the backbone is not frozen.

    With `protocol.cache_features` every image goes through the backbone once: the same training where nothing is augmented.
    """
    if not cfg.model.backbone.get("frozen"):
        raise UserError(
            f"config {cfg.filename}: a linear probe leaves the backbone as it is; set model.backbone.frozen=True."
        )
    return probe(cfg, prefix) if cfg.protocol.get("cache_features") else classify(cfg, prefix)


def classify(cfg: Config, prefix: str) -> Outcome:
    """Trains a classifier as configured; shared with fine-tuning, which differs by its config only."""
    trained = train_and_evaluate(cfg, prefix)
    metrics = {name.removeprefix("accuracy/"): value for name, value in trained.metrics.items()}
    classes = trained.dataset.metainfo["classes"]
    save_classified(trained.predictions(), classes, Path(cfg.work_dir, "predictions"))
    return trained.outcome(metrics["top1"], metrics, "last epoch")
