"""Fine-tuning: MAE's (2111.06377, A.1): the whole backbone with layer-wise lr decay, on the mean of the patches and a new fc_norm."""

from __future__ import annotations

from mmengine.config import Config

from mimeval.errors import UserError
from mimeval.transfer.protocols.base import Outcome
from mimeval.transfer.protocols.linear import classify

METRIC = "top-1 accuracy"
VERSION = 1


def run(cfg: Config, prefix: str) -> Outcome:
    """Trains backbone and head and reports top-1 after the last epoch. Raises UserError if the backbone is frozen."""
    if cfg.model.backbone.get("frozen"):
        raise UserError(f"config {cfg.filename}: fine-tuning trains the backbone; remove model.backbone.frozen.")
    return classify(cfg, prefix)
