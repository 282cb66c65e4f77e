"""A linear probe on features that are computed once: the same batches, rates and layers as training through the runner."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

from mimeval.engine import heartbeat
from mimeval.engine.collective import by_first
from mimeval.engine.live import LiveLine
from mimeval.engine.lr import resolve_lr
from mimeval.engine.memory import peak_bytes, reset_peak
from mimeval.engine.schedule import warmup_cosine
from mimeval.errors import UserError
from mimeval.registry import OPTIMIZERS
from mimeval.transfer.pictures import save_classified
from mimeval.transfer.protocols.base import Outcome, describe_features, describe_load
from mimeval.transfer.protocols.features import Features, build_frozen, extract
from mimeval.transfer.protocols.knn import top_k_accuracy


def probe(cfg: Config, prefix: str) -> Outcome:
    """Trains neck.norm and head of the config's classifier on cached features; top-1 and top-5 after the last epoch.

    Several processes share the features out; the first one alone trains on them, with the batch of one process.
    """
    reset_peak()
    model = build_frozen(cfg)
    line = LiveLine(prefix=prefix)
    train = extract(model, cfg, "train_dataloader", line)
    evaluated = extract(model, cfg, "val_dataloader", line)
    return by_first(lambda: _train_and_evaluate(model, train, evaluated, cfg, line))


def _train_and_evaluate(
    model: Any, train: Features | None, evaluated: Features | None, cfg: Config, line: LiveLine
) -> Outcome:
    assert train is not None and evaluated is not None  # the first process has them
    folder = Path(cfg.work_dir)
    seen = _train(model, train, cfg, line, folder / "features" / "vis_data" / "scalars.json")
    line.clear()
    model.eval()
    with torch.no_grad():
        scores = model.head((model.neck.norm(evaluated.features),)).softmax(dim=1)
    metrics = {f"top{places}": top_k_accuracy(scores, evaluated.labels, places) for places in (1, 5)}
    line.note("  ".join(f"{name} {value:.2f}" for name, value in metrics.items()))
    save_classified(evaluated.answered(scores.argmax(dim=1)), evaluated.classes, folder / "predictions")
    (folder / "config.py").write_text(cfg.pretty_text, encoding="utf-8")
    return Outcome(
        value=metrics["top1"],
        metrics=metrics,
        images_seen=seen,
        peak_bytes=peak_bytes(),
        features=describe_features(model) | {"cached": True},
        load=describe_load(model),
        selection="last epoch",
    )


def _train(model: Any, data: Features, cfg: Config, line: LiveLine, curve: Path) -> int:
    """The epochs of `train_cfg` with the optimizer and the schedule of the config; returns the number of features seen."""
    line.note(resolve_lr(cfg, 1))
    epochs, batch = cfg.train_cfg.max_epochs, cfg.train_dataloader.batch_size
    schedule = cfg.param_scheduler[0]
    steps = max(1, len(data.labels) // batch)
    layers = nn.ModuleList([model.neck.norm, model.head]).train()
    optimizer = OPTIMIZERS.build(dict(cfg.optim_wrapper.optimizer.to_dict(), params=list(layers.parameters())))
    rate = cfg.optim_wrapper.optimizer.lr
    curve.parent.mkdir(parents=True, exist_ok=True)
    with curve.open("w", encoding="utf-8") as stream:
        for epoch in range(epochs):
            # KeyedSampler's permutation.
            order = torch.from_numpy(np.random.default_rng([cfg.randomness.seed, epoch]).permutation(len(data.labels)))
            losses = []
            for step, chosen in enumerate(order.split(batch)[:steps]):
                lr = warmup_cosine(epoch + step / steps, rate, schedule.warmup, epochs, schedule.min_lr)
                for group in optimizer.param_groups:
                    group["lr"] = lr
                chosen = chosen.to(data.labels.device)
                losses.append(_step(model, optimizer, data.features[chosen], data.labels[chosen]))
            loss = float(torch.stack(losses).mean())
            if not math.isfinite(loss):
                raise UserError(
                    f"config {cfg.filename}: expected a finite loss, found {loss:g} in epoch {epoch + 1}; lower base_lr or "
                    "optim_wrapper.optimizer.lr"
                )
            entry = {"loss": loss, "lr": lr, "epoch": epoch + 1, "step": (epoch + 1) * steps}
            stream.write(json.dumps(entry) + "\n")
            heartbeat.alive()
            line.update(f"epoch {epoch + 1}/{epochs}  loss {loss:.4f}  lr {lr:.3g}")
    return epochs * min(steps * batch, len(data.labels))


def _step(model: Any, optimizer: torch.optim.Optimizer, features: Tensor, labels: Tensor) -> Tensor:
    loss = model.head.loss_module(model.head((model.neck.norm(features),)), labels, avg_factor=len(labels))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()
