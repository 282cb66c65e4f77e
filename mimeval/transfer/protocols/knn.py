"""k-NN: DINO's weighted vote over frozen features; nothing is trained and nothing is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor

from mimeval.engine import heartbeat
from mimeval.engine.collective import by_first
from mimeval.engine.live import LiveLine
from mimeval.engine.memory import peak_bytes, reset_peak
from mimeval.errors import UserError
from mimeval.transfer.pictures import save_classified
from mimeval.transfer.protocols.base import Outcome, describe_features, describe_load
from mimeval.transfer.protocols.features import Features, build_frozen, extract

METRIC = "top-1 accuracy"
VERSION = 1


def run(cfg: Config, prefix: str) -> Outcome:
    """Features of both splits, the vote, top-1 and top-5. Raises UserError if data, checkpoint or `protocol` do not fit."""
    reset_peak()
    model = build_frozen(cfg)
    line = LiveLine(prefix=prefix)
    bank = extract(model, cfg, "train_dataloader", line)
    queries = extract(model, cfg, "val_dataloader", line)
    line.clear()
    return by_first(lambda: _vote(cfg, model, bank, queries))


def _vote(cfg: Config, model: Any, bank: Features | None, queries: Features | None) -> Outcome:
    assert bank is not None and queries is not None  # the first process has them
    settings = cfg.protocol
    keys, asked = F.normalize(bank.features, dim=1), F.normalize(queries.features, dim=1)
    votes = knn_votes(keys, bank.labels, asked, settings.k, settings.temperature, len(bank.classes))
    metrics = {f"top{places}": top_k_accuracy(votes, queries.labels, places) for places in (1, 5)}
    folder = Path(cfg.work_dir)
    save_classified(queries.answered(votes.argmax(dim=1)), queries.classes, folder / "predictions")
    (folder / "config.py").write_text(cfg.pretty_text, encoding="utf-8")
    return Outcome(
        value=metrics["top1"],
        metrics=metrics,
        images_seen=len(bank.labels),
        peak_bytes=peak_bytes(),
        features=describe_features(model) | {"k": settings.k, "temperature": settings.temperature},
        load=describe_load(model),
        selection="nothing is chosen",
    )


def knn_votes(
    bank: Tensor, bank_labels: Tensor, queries: Tensor, k: int, temperature: float, num_classes: int, chunk: int = 1024
) -> Tensor:
    """Votes [N, C]: the sum over the k most similar bank features of exp(similarity / T) (DINO, 2104.14294, appendix F).

    bank: [M, D] and queries: [N, D], both L2-normalised; bank_labels: [M], int64. The search is exact; similarities are held
    for `chunk` queries against 64 `chunk` bank features at a time. Raises UserError if the bank has fewer than k features.
    """
    if not 1 <= k <= len(bank):
        raise UserError(
            f"k-NN's k must be 1 to {len(bank)}, the number of training images, found {k}; change protocol.k."
        )
    if not temperature > 0:
        raise UserError(f"k-NN's temperature must be above 0, found {temperature}; change protocol.temperature.")
    votes = []
    for part in queries.split(chunk):
        votes.append(_votes(*_nearest(bank, bank_labels, part, k, 64 * chunk), temperature, num_classes))
        heartbeat.alive()
    return torch.cat(votes)


def _nearest(bank: Tensor, bank_labels: Tensor, queries: Tensor, k: int, width: int) -> tuple[Tensor, Tensor]:
    """Similarities [n, k] and labels [n, k] of each query's k nearest, found piece by piece."""
    best = queries.new_empty(len(queries), 0)
    labels = bank_labels.new_empty(len(queries), 0)
    for part, part_labels in zip(bank.split(width), bank_labels.split(width), strict=True):
        similar, places = (queries @ part.T).topk(min(k, len(part)), dim=1)
        best = torch.cat([best, similar], dim=1)
        labels = torch.cat([labels, part_labels[places]], dim=1)
        best, places = best.topk(min(k, best.shape[1]), dim=1)
        labels = labels.gather(1, places)
    return best, labels


def _votes(similar: Tensor, labels: Tensor, temperature: float, num_classes: int) -> Tensor:
    votes = similar.new_zeros(len(similar), num_classes)
    return votes.scatter_add_(1, labels, (similar / temperature).exp())


def top_k_accuracy(votes: Tensor, labels: Tensor, places: int) -> float:
    """Percent of rows whose label is among the first `places` classes that received a vote."""
    places = min(places, votes.shape[1])
    values, classes = votes.topk(places, dim=1)
    # A class without a vote can stand in a place only by the order of the sort: that is no answer.
    hits = (classes == labels[:, None]) & (values > 0)
    return 100.0 * hits.any(dim=1).double().mean().item()
