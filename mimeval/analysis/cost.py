"""What a training step costs: images per second and peak memory, candidates measured in turn.

Machines drift while one measures, so the candidates take turns, step by step, and the medians are compared.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope

from mimeval.analysis.batches import random_batch
from mimeval.engine.faults import blame_config
from mimeval.engine.memory import peak_bytes, reset_peak
from mimeval.registry import MODELS, OPTIM_WRAPPERS


@dataclass
class StepCost:
    """Cost of one candidate. ``seconds`` holds the time of every measured step."""

    name: str
    precision: str
    batch: int
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0

    def as_dict(self) -> dict:
        """Images per second from the median step, with the range over all steps; times in seconds."""
        median = statistics.median(self.seconds)
        return {
            "name": self.name,
            "precision": self.precision,
            "batch": self.batch,
            "steps": len(self.seconds),
            "median_s": median,
            "min_s": min(self.seconds),
            "max_s": max(self.seconds),
            "images_per_s": self.batch / median,
            "peak_bytes": self.peak_bytes,
        }


def measure(steps: Sequence[tuple[StepCost, Callable[[], None]]], repeats: int, warmup: int = 1) -> list[StepCost]:
    """Runs the candidates' steps in turn, ``repeats`` times each after ``warmup`` uncounted rounds.

    Peak memory is the process's (or the GPU's) highest use during a candidate's own step, so it includes the weights of the
    other candidates: measure one alone to quote its memory.
    """
    for round_number in range(warmup + repeats):
        for cost, step in steps:
            reset_peak()
            start = time.perf_counter()
            step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            elapsed = time.perf_counter() - start
            if round_number >= warmup:
                cost.seconds.append(elapsed)
                cost.peak_bytes = max(cost.peak_bytes, peak_bytes())
    return [cost for cost, _ in steps]


def training_step(config: Config, batch: int, precision: str, size: int | None = None) -> Callable[[], None]:
    """A full training step of a config's model on a random batch: preprocessing, forward, backward, AdamW.

    Args:
        config: of a pre-training, a classifier, a detector or a segmentor.
        batch: images per step.
        precision: fp32, bf16 or fp16.
        size: side of the images in pixels; by default what the config trains at.

    Raises:
        UserError: another kind of model, or arguments that it does not take.
    """
    data = random_batch(config, batch, size)
    init_default_scope("mimeval")
    model_cfg = copy.deepcopy(config.model)
    # A step costs the same from any weights and centres, and their files need not be there.
    model_cfg.backbone.pop("init_cfg", None)
    for target in model_cfg.get("targets") or ():
        if "centres" in target:
            target.centres = None
    with blame_config(config.filename):
        model = MODELS.build(model_cfg)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        model = revert_sync_batchnorm(model)
    model = model.to(device).train()
    model.init_weights()
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05)
    wrapper = OPTIM_WRAPPERS.build(dict(type="mimeval.AutocastOptimWrapper", precision=precision, optimizer=optimizer))

    def step() -> None:
        # Preprocessors write into the samples: each step gets its own.
        inputs = model.data_preprocessor(copy.deepcopy(data), True)
        with wrapper.optim_context(model):
            losses = model(**inputs, mode="loss")
        total, _ = model.parse_losses(losses)
        wrapper.update_params(total)

    return step
