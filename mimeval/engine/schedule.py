"""The learning rate of MAE: linear warm-up from 0, then half a cosine, by iteration with fractional epochs."""

from __future__ import annotations

import math
from typing import Any

from mmengine.optim.scheduler.param_scheduler import INF, OptimizerType, _ParamScheduler

from mimeval.errors import UserError
from mimeval.registry import PARAM_SCHEDULERS


def warmup_cosine(t: float, lr: float, warmup: float, epochs: float, min_lr: float = 0.0) -> float:
    """Learning rate at time t; t, warmup and epochs in one unit. From the end on it stays at ``min_lr``. MAE, A.1."""
    if t < warmup:
        return lr * t / warmup
    if t >= epochs:
        return min_lr
    return min_lr + (lr - min_lr) * 0.5 * (1.0 + math.cos(math.pi * (t - warmup) / (epochs - warmup)))


@PARAM_SCHEDULERS.register_module()
class WarmupCosine(_ParamScheduler):
    """``warmup_cosine`` for every parameter group, from the group's own lr down to ``min_lr`` times its ``lr_scale``.

    In epochs: ``dict(type='WarmupCosine', warmup=5, min_lr=1e-6, convert_to_iter_based=True)``, at fractional epochs.
    In iterations: ``dict(type='WarmupCosine', warmup=1500, by_epoch=False)``. ``begin`` and ``end`` are in the same
    unit; the length of the schedule is ``epochs`` or else ``end - begin``, and mmengine's runner sets ``end`` to the
    length of the run. With gradient accumulation the rate moves once per update, as in MAE. Raises UserError if
    something else moves the rate.
    """

    def __init__(
        self,
        optimizer: OptimizerType,
        warmup: float = 0,
        min_lr: float = 0.0,
        epochs: float | None = None,
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        verbose: bool = False,
    ) -> None:
        if by_epoch and epoch_length is None:
            raise UserError(
                "param_scheduler: WarmupCosine moves the rate every iteration, but the length of an epoch is missing; "
                "add convert_to_iter_based=True (warmup in epochs) or by_epoch=False (warmup in iterations)"
            )
        # Iterations per unit of warmup, epochs, begin and end.
        self.epoch_length = epoch_length if by_epoch and epoch_length is not None else 1
        self.length = float(epochs if epochs is not None else end - begin)
        if epochs is None and end == INF:
            raise UserError("param_scheduler: WarmupCosine needs its length, found no 'epochs' and no 'end'; give one")
        if not 0 <= warmup <= self.length:
            raise UserError(
                f"param_scheduler: WarmupCosine's warmup must be 0 to {self.length:g}, the length of the schedule, "
                f"found {warmup:g}; shorten the warm-up or lengthen the run"
            )
        self.warmup = float(warmup)
        self.accumulative_counts = getattr(optimizer, "_accumulative_counts", 1)
        # Taken now, not when stepping: a resumed optimizer brings its groups' old settings along.
        self.minima = [min_lr * group.get("lr_scale", 1.0) for group in optimizer.param_groups]
        begin, end = begin * self.epoch_length, end if end == INF else end * self.epoch_length
        super().__init__(optimizer, "lr", begin, end, by_epoch=False, verbose=verbose)

    @classmethod
    def build_iter_from_epoch(cls, **kwargs: Any) -> WarmupCosine:
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
        update = self.last_step - self.last_step % self.accumulative_counts
        t = update / self.epoch_length
        return [
            # A group whose own rate is below the minimum stays where it is: a cosine never raises a group.
            warmup_cosine(t, lr, self.warmup, self.length, min(minimum, lr))
            for lr, minimum in zip(self.base_values, self.minima, strict=True)
        ]

    def _check_untouched(self) -> None:
        for i, (group, lr) in enumerate(zip(self.optimizer.param_groups, self._last_value, strict=True)):
            if group["lr"] != lr:
                raise UserError(
                    f"param_scheduler: WarmupCosine set the lr of group {i} to {lr:g}, found {group['lr']:g}; "
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
