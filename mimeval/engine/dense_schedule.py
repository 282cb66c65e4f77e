"""Learning rates of the dense recipes by iteration: UperNet's poly, Mask R-CNN's steps, and the cosine of Li et al. (2021).

The warm-up of all three multiplies or replaces a schedule that runs from the first iteration on; mmengine's LinearLR followed by
PolyLR or CosineAnnealingLR starts the schedule when the warm-up ends, which is another curve.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from mmengine.optim.scheduler.param_scheduler import OptimizerType

from mimeval.engine.schedule import ClosedFormSchedule
from mimeval.registry import PARAM_SCHEDULERS


class _LinearWarmup(ClosedFormSchedule):
    """`dict(type=..., warmup=1500, start_ratio=1e-6, by_epoch=False)`; lengths and units as in ClosedFormSchedule."""

    def __init__(self, optimizer: OptimizerType, warmup: float = 0, start_ratio: float = 0.0, **kwargs: Any) -> None:
        self.start_ratio = start_ratio
        super().__init__(optimizer, warmup, **kwargs)

    def warmed(self, t: float) -> float:
        """start_ratio at t = 0, 1 from `warmup` on, linear between."""
        return 1.0 if t >= self.warmup else self.start_ratio + (1.0 - self.start_ratio) * t / self.warmup


@PARAM_SCHEDULERS.register_module()
class WarmupPoly(_LinearWarmup):
    """lr (1 - t / length) ** power times a linear warm-up: mmcv 1's poly policy (runner/hooks/lr_updater.py), min_lr 0.

    BEiT, MAE's reproduction, LocalMIM and Swin train UperNet with it.
    """

    def __init__(
        self, optimizer: OptimizerType, warmup: float = 0, start_ratio: float = 0.0, power: float = 1.0, **kwargs: Any
    ) -> None:
        self.power = power
        super().__init__(optimizer, warmup, start_ratio, **kwargs)

    def rate(self, iteration: int, lr: float, lr_scale: float) -> float:
        """See ``ClosedFormSchedule.rate``."""
        t = iteration / self.epoch_length
        return lr * max(1.0 - t / self.length, 0.0) ** self.power * self.warmed(t)


@PARAM_SCHEDULERS.register_module()
class WarmupMultiStep(_LinearWarmup):
    """lr gamma ** (milestones reached) times a linear warm-up: detectron2's WarmupParamScheduler, mmcv 1's step policy."""

    def __init__(
        self,
        optimizer: OptimizerType,
        milestones: Sequence[float],
        warmup: float = 0,
        start_ratio: float = 0.0,
        gamma: float = 0.1,
        **kwargs: Any,
    ) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, warmup, start_ratio, **kwargs)

    def rate(self, iteration: int, lr: float, lr_scale: float) -> float:
        """See ``ClosedFormSchedule.rate``."""
        t = iteration / self.epoch_length
        return lr * self.gamma ** bisect_right(self.milestones, t) * self.warmed(t)


@PARAM_SCHEDULERS.register_module()
class WholeCosine(_LinearWarmup):
    """Half a cosine to 0 over the whole schedule; the warm-up is a line from start_ratio to where the cosine is when it ends.

    detectron2's WarmupParamScheduler over fvcore's CosineParamScheduler, as MIMDet trains the benchmark of Li et al. (2021).
    """

    def rate(self, iteration: int, lr: float, lr_scale: float) -> float:
        """See ``ClosedFormSchedule.rate``."""
        t = iteration / self.epoch_length
        if t < self.warmup:
            return lr * (self.start_ratio + (self._cosine(self.warmup) - self.start_ratio) * t / self.warmup)
        return lr * self._cosine(t)

    def _cosine(self, t: float) -> float:
        return 0.5 * (1.0 + math.cos(math.pi * min(t / self.length, 1.0)))
