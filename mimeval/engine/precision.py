"""Training and evaluation in fp32, bf16 or fp16 on the device where the model is, CPU included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from mimeval.engine import heartbeat, sharding
from mimeval.errors import UserError
from mimeval.registry import OPTIM_WRAPPERS

DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(model: nn.Module, precision: str) -> torch.autocast:
    """Context in which ``model`` runs in ``precision`` on its own device, for training and evaluation alike.

    Raises UserError for a precision that is unknown or that the device lacks.
    """
    device = next(model.parameters()).device
    _check(device, precision)
    return _autocast(device, precision)


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """mmengine's OptimWrapper with autocast on CPU and CUDA, loss scaling in fp16, and the gradient norm per update.

    ``grad_norm`` is the norm of the last update's gradients before clipping (2-norm unless ``clip_grad`` names
    another), logged as ``train/grad_norm`` also where nothing is clipped. An fp16 update with infinite or NaN
    gradients is skipped. A model that is spread over processes (sharding.py) is measured, clipped and updated as a whole
    one; its state is that of a whole one too, on the first process, and every process has to ask for it.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        precision: str = "fp32",
        accumulative_counts: int = 1,
        clip_grad: dict[str, Any] | None = None,
    ) -> None:
        # The parent takes 'type' out of the dict, which belongs to the caller's config.
        super().__init__(optimizer, accumulative_counts, dict(clip_grad) if clip_grad is not None else None)
        self.precision = precision
        self.grad_norm = float("nan")
        first = optimizer.param_groups[0]["params"][0]
        device = first.device
        _check(device, precision)
        if precision == "fp16" and isinstance(first, DTensor):
            raise UserError("precision: expected bf16 or fp32 with fsdp, found fp16, whose loss scaling it lacks")
        self.scaler = torch.amp.GradScaler(device.type) if precision == "fp16" else None

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast around the forward pass, without gradient synchronisation between accumulated iterations."""
        if isinstance(model, FSDPModule):
            model.set_requires_gradient_sync(self.should_sync())
        with super().optim_context(model), _autocast(next(model.parameters()).device, self.precision):
            yield

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Add the gradients of ``loss`` (times the loss scale in fp16)."""
        heartbeat.at("backward")
        super().backward(loss if self.scaler is None else self.scaler.scale(loss), **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Measure the gradient norm, clip, and update the parameters."""
        if self.scaler is None:
            norm = self._measure_and_clip()
            self.optimizer.step(**kwargs)
        else:
            self.scaler.unscale_(self.optimizer)
            norm = self._measure_and_clip()
            self.scaler.step(self.optimizer, **kwargs)
            self.scaler.update()
            self.message_hub.update_scalar("train/loss_scale", self.scaler.get_scale())
        # Only now, because reading the value makes the host wait for the GPU.
        self.grad_norm = float(norm)
        # A skipped fp16 update has no norm; an infinite entry would spoil the running mean of the log.
        if self.scaler is None or torch.isfinite(norm):
            self.message_hub.update_scalar("train/grad_norm", self.grad_norm)

    def _measure_and_clip(self) -> Tensor:
        params = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        options = dict(self.clip_grad_kwargs or {})
        by_norm = "max_norm" in options
        # Multi-tensor kernels where the device has them: a few launches instead of one per parameter.
        norm = torch.nn.utils.get_total_norm(
            [p.grad for p in params],
            norm_type=options.get("norm_type", 2.0),
            error_if_nonfinite=options.get("error_if_nonfinite", False) and self.scaler is None,
        )
        if by_norm:
            torch.nn.utils.clip_grads_with_norm_(params, options["max_norm"], norm)
        elif options:
            torch.nn.utils.clip_grad_value_(params, **options)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state, and the loss scaler's under ``loss_scaler`` in fp16."""
        state = sharding.whole(super().state_dict())
        if self.scaler is not None:
            state["loss_scaler"] = self.scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what ``state_dict`` gave; a run may go on in another precision than it began with."""
        state = dict(state_dict)
        scaler = state.pop("loss_scaler", None)
        if self.scaler is not None and scaler:
            self.scaler.load_state_dict(scaler)
        super().load_state_dict(sharding.spread_optimizer_state(state, self.optimizer))


def _autocast(device: torch.device, precision: str) -> torch.autocast:
    dtype = DTYPES[precision]
    # fp32 switches an outer autocast off: the precision asked for is the one that runs.
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def _check(device: torch.device, precision: str) -> None:
    if precision not in DTYPES:
        raise UserError(f"precision: expected one of {', '.join(DTYPES)}, found '{precision}'; choose one of these")
    if precision == "fp16" and device.type == "cpu":
        raise UserError(
            "precision: 'fp16' needs a GPU, found a model on the CPU, where it is no faster and has no loss scaling; "
            "use bf16 or fp32"
        )
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise UserError(f"precision: this GPU ({torch.cuda.get_device_name(device)}) has no bf16; use fp16 or fp32")
