"""Learning rates by iteration, each a closed form of the step: warm-up and half a cosine as MAE, BEiT and SimMIM have them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from mmengine.optim.scheduler.param_scheduler import INF, OptimizerType, _ParamScheduler

from mimeval.errors import UserError
from mimeval.registry import PARAM_SCHEDULERS


def warmup_cosine(
    t: float, lr: float, warmup: float, epochs: float, min_lr: float = 0.0, start_lr: float = 0.0
) -> float:
    """Learning rate at time t; t, warmup and epochs in one unit. From the end on it stays at ``min_lr``. MAE, A.1."""
    if t < warmup:
        return start_lr + (lr - start_lr) * t / warmup
    if t >= epochs:
        return min_lr
    return min_lr + (lr - min_lr) * 0.5 * (1.0 + math.cos(math.pi * (t - warmup) / (epochs - warmup)))


class ClosedFormSchedule(_ParamScheduler):
    """A rate that is a function of the step for every parameter group; subclasses say which (``rate``).

    In epochs, at fractional ones: ``dict(type=..., warmup=5, convert_to_iter_based=True)``. In iterations:
    ``dict(type=..., warmup=1500, by_epoch=False)``. ``begin`` and ``end`` are in the same unit; the length of the schedule is
    ``epochs`` or else ``end - begin``, and mmengine's runner sets ``end`` to the length of the run. With gradient
    accumulation the rate moves once per update. Raises UserError if something else moves the rate.
    """

    def __init__(
        self,
        optimizer: OptimizerType,
        warmup: float = 0,
        epochs: float | None = None,
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        verbose: bool = False,
    ) -> None:
        name = type(self).__name__
        if by_epoch and epoch_length is None:
            raise UserError(
                f"param_scheduler: {name} moves the rate every iteration, but the length of an epoch is missing; "
                "add convert_to_iter_based=True (warmup in epochs) or by_epoch=False (warmup in iterations)"
            )
        # Iterations per unit of warmup, epochs, begin and end.
        self.epoch_length = epoch_length if by_epoch and epoch_length is not None else 1
        self.length = float(epochs if epochs is not None else end - begin)
        if epochs is None and end == INF:
            raise UserError(f"param_scheduler: {name} needs its length, found no 'epochs' and no 'end'; give one")
        if not 0 <= warmup <= self.length:
            raise UserError(
                f"param_scheduler: {name}'s warmup must be 0 to {self.length:g}, the length of the schedule, "
                f"found {warmup:g}; shorten the warm-up or lengthen the run"
            )
        self.warmup = float(warmup)
        self.accumulative_counts = getattr(optimizer, "_accumulative_counts", 1)
        # Taken now, not when stepping: a resumed optimizer brings its groups' old settings along.
        self.lr_scales = [group.get("lr_scale", 1.0) for group in optimizer.param_groups]
        begin, end = begin * self.epoch_length, end if end == INF else end * self.epoch_length
        super().__init__(optimizer, "lr", begin, end, by_epoch=False, verbose=verbose)

    @abstractmethod
    def rate(self, iteration: int, lr: float, lr_scale: float) -> float:
        """Rate of a group whose own full rate is ``lr``, in the update that begins at ``iteration`` of the schedule."""

    @classmethod
    def build_iter_from_epoch(cls, **kwargs: Any) -> ClosedFormSchedule:
        """What mmengine calls for ``convert_to_iter_based=True``, with ``epoch_length``, iterations per epoch."""
        return cls(**kwargs)

    def step(self) -> None:
        """Set every group's rate for the next iteration."""
        if self.begin <= self._global_step < self.end - 1:
            self._check_untouched()
        self._global_step += 1
        self._set_rates()

    def _set_rates(self) -> None:
        if self.begin <= self._global_step < self.end:
            self.last_step = self._global_step - self.begin
            for i, (group, lr) in enumerate(zip(self.optimizer.param_groups, self._get_value(), strict=True)):
                group["lr"] = lr
                self.print_value(self.verbose, i, lr)
        self._last_value = [group["lr"] for group in self.optimizer.param_groups]

    def _get_value(self) -> list[float]:
        # A closed form of the step: nothing accumulates, so a resumed run has the very same rates.
        iteration = self.last_step - self.last_step % self.accumulative_counts
        return [self.rate(iteration, *group) for group in zip(self.base_values, self.lr_scales, strict=True)]

    def _check_untouched(self) -> None:
        for i, (group, lr) in enumerate(zip(self.optimizer.param_groups, self._last_value, strict=True)):
            if group["lr"] != lr:
                raise UserError(
                    f"param_scheduler: {type(self).__name__} set the lr of group {i} to {lr:g}, found {group['lr']:g}; "
                    "it is a closed form that shares the lr with no other scheduler or hook, so remove the other"
                )

    def state_dict(self) -> dict[str, Any]:
        """Where the run stands, in iterations; the schedule itself, its lr included, comes from the config."""
        return {"global_step": self._global_step, "epoch_length": self.epoch_length}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from ``state_dict``: from the same (fractional) epoch if an epoch now has other iterations."""
        self._global_step = round(state_dict["global_step"] * self.epoch_length / state_dict["epoch_length"])
        # A run that ended and goes on for longer stands just past its old end, where no rate had been set.
        self._set_rates()


@PARAM_SCHEDULERS.register_module()
class WarmupCosine(ClosedFormSchedule):
    """``warmup_cosine`` from 0 over the group's own rate down to ``min_lr`` times its ``lr_scale``, as MAE and BEiT.

    ``dict(type='WarmupCosine', warmup=5, min_lr=1e-6, convert_to_iter_based=True)``. start_lr: where the warm-up starts, times
    ``lr_scale`` (MaskFeat). full_warmup: the last update of the warm-up has the full rate already, as in BEiT's table (its
    utils.py, cosine_scheduler); in MAE it is the first one after. Lengths and units as in ``ClosedFormSchedule``.
    """

    def __init__(
        self,
        optimizer: OptimizerType,
        warmup: float = 0,
        min_lr: float = 0.0,
        epochs: float | None = None,
        full_warmup: bool = False,
        start_lr: float = 0.0,
        **kwargs: Any,
    ) -> None:
        self.min_lr, self.full_warmup, self.start_lr = min_lr, full_warmup, start_lr
        super().__init__(optimizer, warmup, epochs, **kwargs)

    def rate(self, iteration: int, lr: float, lr_scale: float) -> float:
        """See ``ClosedFormSchedule.rate``."""
        start = min(self.start_lr * lr_scale, lr)
        last = self.warmup * self.epoch_length - self.accumulative_counts
        if self.full_warmup and iteration <= last:
            return start + (lr - start) * iteration / last if last else 0.0
        # A group whose own rate is below the minimum stays where it is: a cosine never raises a group.
        minimum = min(self.min_lr * lr_scale, lr)
        return warmup_cosine(iteration / self.epoch_length, lr, self.warmup, self.length, minimum, start)


class TimmSchedule(ClosedFormSchedule):
    """timm's schedules stepped after each update, as in SimMIM (its lr_scheduler.py and main_*.py).

    The warm-up starts at start_ratio times the full rate of the *last* layer: the same for all groups. It is cut out of what
    follows, not put before it. The first two updates share a rate. Lengths and units as in ``ClosedFormSchedule``.
    """

    def __init__(self, optimizer: OptimizerType, warmup: float = 0, start_ratio: float = 0.0, **kwargs: Any) -> None:
        self.start_ratio = start_ratio
        super().__init__(optimizer, warmup, **kwargs)

    def rate(self, iteration: int, lr: float, lr_scale: float) -> float:
        """See ``ClosedFormSchedule.rate``."""
        # The scheduler of an update is called with its last iteration, and its rate is that of the next update.
        t, top = max(iteration - 1, 0), lr / lr_scale
        warmup = int(self.warmup * self.epoch_length)
        if t < warmup:
            start = self.start_ratio * top
            return start + (lr - start) * t / warmup
        return self.after_warmup(t, lr, top)

    @abstractmethod
    def after_warmup(self, t: int, lr: float, top: float) -> float:
        """Rate at iteration t, counted from the start of the warm-up; ``top`` is the last layer's full rate."""


@PARAM_SCHEDULERS.register_module()
class TimmCosine(TimmSchedule):
    """A cosine, as in SimMIM's fine-tuning and 100 epochs of pre-training.

    ``dict(type='TimmCosine', warmup=20, start_ratio=2e-4, min_ratio=2e-4, convert_to_iter_based=True)``. It ends at min_ratio
    times the full rate of the last layer: the same for all groups, so layer decay can put a group's own rate below it, and
    then it rises. When the warm-up ends the rate drops. The rest as in ``TimmSchedule``.
    """

    def __init__(self, optimizer: OptimizerType, warmup: float = 0, min_ratio: float = 0.0, **kwargs: Any) -> None:
        self.min_ratio = min_ratio
        super().__init__(optimizer, warmup, **kwargs)

    def after_warmup(self, t: int, lr: float, top: float) -> float:
        """See ``TimmSchedule.after_warmup``."""
        minimum, steps = self.min_ratio * top, int(self.length * self.epoch_length)
        return minimum + (lr - minimum) * 0.5 * (1.0 + math.cos(math.pi * min(t / steps, 1.0)))


@PARAM_SCHEDULERS.register_module()
class TimmMultiStep(TimmSchedule):
    """The rate times ``gamma`` at each milestone, as in SimMIM's 800 epochs of pre-training.

    ``dict(type='TimmMultiStep', warmup=10, start_ratio=5e-3, milestones=[700], convert_to_iter_based=True)``, milestones in
    the unit of warmup. Raises UserError for a milestone within the warm-up. The rest as in ``TimmSchedule``.
    """

    def __init__(
        self,
        optimizer: OptimizerType,
        warmup: float = 0,
        milestones: Sequence[float] = (),
        gamma: float = 0.1,
        **kwargs: Any,
    ) -> None:
        if any(milestone < warmup for milestone in milestones):
            raise UserError(
                f"param_scheduler: TimmMultiStep's milestones must lie after the warm-up of {warmup:g}, found "
                f"{list(milestones)}; move them or shorten the warm-up"
            )
        self.milestones, self.gamma = milestones, gamma
        super().__init__(optimizer, warmup, **kwargs)

    def after_warmup(self, t: int, lr: float, top: float) -> float:
        """See ``TimmSchedule.after_warmup``."""
        return lr * self.gamma ** sum(t >= milestone * self.epoch_length for milestone in self.milestones)
