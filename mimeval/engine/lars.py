"""LARS, the optimizer of MAE's linear probe (You et al., 2017, in the form of MoCo v3 and MAE)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from mimeval.registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class LARS(torch.optim.Optimizer):
    """SGD with momentum whose step is proportional to the parameter's norm, for parameters of two or more dimensions.

    u = g + weight_decay * p, scaled by trust_coefficient * |p| / |u| (by 1 where either norm is 0); others take u = g.
    Then m = momentum * m + u and p = p - lr * m.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        trust_coefficient: float = 0.001,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "trust_coefficient": trust_coefficient,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update; returns the loss of ``closure`` if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                update = param.grad
                if param.ndim > 1:
                    update = update.add(param, alpha=group["weight_decay"])
                    param_norm, update_norm = param.norm(), update.norm()
                    # Chosen on the device, so that no parameter makes the host wait.
                    update = update * torch.where(
                        (param_norm > 0) & (update_norm > 0),
                        group["trust_coefficient"] * param_norm / update_norm,
                        torch.ones_like(param_norm),
                    )
                state = self.state[param]
                if "mu" not in state:
                    state["mu"] = torch.zeros_like(param)
                momentum = state["mu"]
                momentum.mul_(group["momentum"]).add_(update)
                param.add_(momentum, alpha=-group["lr"])
        return loss
