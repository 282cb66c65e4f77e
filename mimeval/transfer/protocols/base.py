"""What the five protocols share: what they return, how a model is trained and evaluated, what is said about its features.

A protocol is a module with METRIC, VERSION (raised whenever the same config would give another figure) and
`run(cfg, prefix) -> Outcome`; `cfg` is a resolved task config whose work_dir receives curves and pictures, `prefix` stands before
every line of progress.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mimeval.engine.collective import gather
from mimeval.engine.memory import peak_bytes, reset_peak
from mimeval.engine.runner import build_runner
from mimeval.engine.sharding import is_sharded
from mimeval.errors import UserError
from mimeval.quiet import without_prints

PICTURES = 4


@dataclass(frozen=True)
class Outcome:
    """A finished protocol: its figures in percent, and what of the backbone they were read from."""

    value: float
    metrics: dict[str, float]
    images_seen: int
    peak_bytes: int
    features: dict[str, Any]
    load: dict[str, Any] | None
    selection: str


@dataclass(frozen=True)
class Trained:
    """A model after its last epoch, and the figures of its only counted evaluation."""

    model: Any
    dataset: Any
    metrics: dict[str, float]
    images_seen: int
    peak_bytes: int

    def predictions(self, count: int = PICTURES) -> Iterator[Any]:
        """Data samples with truth and prediction, of images spread evenly over the evaluation set; in the first process only."""
        is_first = get_dist_info()[0] == 0
        if not is_first and not is_sharded(self.model):
            return
        self.model.eval()
        total = len(self.dataset)
        for index in sorted({place * total // count for place in range(count)}):
            with torch.no_grad():
                sample = self.model.test_step(pseudo_collate([self.dataset[index]]))[0]
            if is_first:
                yield sample

    def outcome(self, value: float, metrics: dict[str, float], selection: str) -> Outcome:
        """What a protocol returns for this training: its headline figure, all its figures, what was reported of the run."""
        return Outcome(
            value=value,
            metrics=metrics,
            images_seen=self.images_seen,
            peak_bytes=self.peak_bytes,
            features=describe_features(self.model),
            load=describe_load(self.model),
            selection=selection,
        )


class _LastMetrics(Hook):
    metrics: dict[str, float] | None = None

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        self.metrics = metrics


def train_and_evaluate(cfg: Config, prefix: str) -> Trained:
    """Trains a task config and evaluates the last weights; leaves mmengine's logs and scalars.json in its work_dir.

    Raises:
        UserError: the config cannot be built, its checkpoint does not fit, its data cannot be read, or its loss is not finite.
    """
    # The line of a suite says which of its tasks is running.
    hooks = [*(cfg.get("custom_hooks") or []), *(cfg.get("default_hooks") or {}).values()]
    progress = [hook for hook in hooks if hook["type"] == "ProgressHook"]
    for hook in progress:
        hook.prefix = prefix
    if not progress:
        cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), dict(type="ProgressHook", prefix=prefix)]
    cfg.visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
    reset_peak()
    # pycocotools prints; progress goes to stderr.
    with without_prints():
        runner = build_runner(cfg)
        last = _LastMetrics()
        runner.register_hook(last)
        runner.train()
    hub = runner.message_hub
    peak = peak_bytes()
    if "train/peak_bytes" in hub.log_scalars:
        peak = max(peak, int(hub.get_scalar("train/peak_bytes").data[0].max()))
    if last.metrics is None:
        raise UserError(
            f"config {cfg.filename}: it trains but never evaluates; set val_dataloader, val_evaluator and val_cfg."
        )
    return Trained(
        model=runner.model.module if is_model_wrapper(runner.model) else runner.model,
        dataset=runner.val_dataloader.dataset,
        metrics={name: float(value) for name, value in last.metrics.items()},
        images_seen=int(hub.get_info("images_seen")),
        peak_bytes=max(gather(peak) or [peak]),
    )


def describe_features(model: Any) -> dict[str, Any]:
    """Tokens and norm that are read from the backbone, whether it is frozen, its patch and its blocks."""
    backbone = model.backbone
    neck = getattr(model, "neck", None)
    out_type = backbone.out_type
    tokens = {"tokens": getattr(neck, "tokens", "all"), "maps": "patches"}.get(out_type, out_type)
    pooled = "fc_norm" if hasattr(backbone, "fc_norm") else "norm"  # Swin's
    norm = {"mean": pooled, "maps": "tap_norms" if getattr(backbone, "tap_norms", None) else "none"}.get(
        out_type, "norm"
    )
    return {
        "tokens": tokens,
        "norm": norm,
        "taps": list(getattr(backbone, "taps", None) or []),
        "frozen": bool(getattr(backbone, "frozen", False)),
        "patch_size": getattr(backbone, "patch_size", None),
    }


def describe_load(model: Any) -> dict[str, Any] | None:
    """What loading the checkpoint did, short enough for a record; None for random initialisation."""
    report = getattr(model.backbone, "load_report", None)
    if report is None:
        return None
    return {
        "family": report.family,
        "architecture": str(report.architecture),
        "loaded": f"{len(report.loaded)} of {report.total_tensors} tensors",
        "training": report.training,
        "fresh": dict(report.fresh),
        "transformations": list(report.transformations),
        "waived": {waiver: list(names) for waiver, names in report.waived.items()},
    }
