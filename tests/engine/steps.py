"""Shipped demo configs, shrunk, trained for a few steps while every loss, gradient and weight is noted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from torch.distributed.tensor import DTensor

from mimeval.engine.config import load_config
from mimeval.engine.environment import setup_environment
from mimeval.engine.runner import RUN_KEYS, build_runner, prepare

# Once here, and not in every process that a test forks.
setup_environment()
import mmpretrain.datasets  # noqa: E402
import mmpretrain.evaluation  # noqa: E402
import mmpretrain.models  # noqa: E402, F401

TINY = {"embed_dim": 16, "depth": 2, "num_heads": 2}
CLASSIFIER = (f"model.backbone.arch={TINY}", "model.head.in_channels=16", "val_dataloader.batch_size=4")
SHRUNK = {
    "emae": ("demo/emae_demo", f"model.backbone.arch={TINY}", "model.decoders.0.embed_dim=16", "custom_hooks=[]"),
    "mae": (
        "demo/emae_demo",
        f"model.backbone.arch={TINY}",
        "model.decoders.0.embed_dim=16",
        "custom_hooks=[]",
        "model.masking={'type':'RandomMasking','ratio':0.75}",
        "model.regularizers=[]",
    ),
    "finetune": ("demo/finetune_demo", *CLASSIFIER, "param_scheduler.0.warmup=0", "default_hooks.logger.interval=1"),
}


def configure(name: str, data: Path, work_dir: Path, options: tuple[str, ...] = (), **choices: Any) -> Config:
    """The config of one of SHRUNK (or of any name) on `data`."""
    config, *shrunk = SHRUNK.get(name, (name,))
    cfg = load_config(config, [*shrunk, *options], str(data), RUN_KEYS | {"protocol"})
    cfg.pop("protocol", None)
    prepare(cfg, work_dir=str(work_dir), **choices)
    return cfg


class Notes(Hook):
    """The loss of every step as hooks see it."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.losses: list[float] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses.append(float(outputs["loss"].detach()))


def array(tensor: torch.Tensor) -> np.ndarray:
    """Of a whole tensor, also where it is spread over processes; every process has to ask."""
    tensor = tensor.detach()
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).cpu().numpy().copy()


def trained(cfg: Config, with_gradients: bool = True) -> dict[str, Any]:
    """losses of every step, gradients of every update as the optimiser sees them, weights at the end; all by name."""
    runner = build_runner(cfg)
    notes, gradients = Notes(), []
    runner.register_hook(notes)
    build = runner.build_optim_wrapper

    def with_notes(*args: Any) -> Any:
        wrapper = build(*args)
        model = getattr(runner.model, "module", runner.model)
        names = {parameter: name for name, parameter in model.named_parameters()}

        def note(optimizer: Any, args: Any, kwargs: Any) -> None:
            parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            gradients.append({names[parameter]: array(parameter.grad) for parameter in parameters})

        if with_gradients and not getattr(wrapper, "noted", False):
            wrapper.optimizer.register_step_pre_hook(note)
            wrapper.noted = True
        return wrapper

    runner.build_optim_wrapper = with_notes
    runner.train()
    model = getattr(runner.model, "module", runner.model)
    weights = {name: array(value) for name, value in model.state_dict().items()}
    norms = runner.message_hub.get_scalar("train/grad_norm").data[0].tolist()
    return {"losses": notes.losses, "gradients": gradients, "weights": weights, "norms": norms}


def difference(left: Any, right: Any) -> float:
    """The largest absolute difference of two structures of numbers, which must have the same parts."""
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        return max((difference(left[key], right[key]) for key in left), default=0.0)
    if isinstance(left, list):
        assert len(left) == len(right)
        return max((difference(a, b) for a, b in zip(left, right, strict=True)), default=0.0)
    return float(np.max(np.abs(np.asarray(left, np.float64) - np.asarray(right, np.float64)), initial=0.0))
