"""What a pre-training step costs: images per second and peak memory, candidates measured in turn.

Machines drift while one measures, so the candidates take turns, step by step, and the medians are compared.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from mmengine.config import Config
from torch import Tensor

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


def training_step(config: Config, batch: int, precision: str) -> Callable[[], None]:
    """A full pre-training step of a config's model on random images: preprocessing, forward, backward, optimiser.

    Args:
        config: a pre-training config, with ``model`` and ``optim_wrapper``.
        batch: images per step.
        precision: fp32, bf16 or fp16.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = MODELS.build(config.model).to(device).train()
    model.init_weights()
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05)
    wrapper = OPTIM_WRAPPERS.build(dict(type="mimeval.AutocastOptimWrapper", precision=precision, optimizer=optimizer))
    height, width = model.backbone.patch_embed.img_size
    images = torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8)
    keys = torch.stack([torch.zeros(batch), torch.zeros(batch), torch.arange(batch)], dim=1).long().to(device)

    def step() -> None:
        inputs: Tensor = model.data_preprocessor({"inputs": images}, training=True)["inputs"]
        with wrapper.optim_context(model):
            losses = model.loss(inputs, keys)
        total, _ = model.parse_losses(losses)
        wrapper.update_params(total)

    return step
