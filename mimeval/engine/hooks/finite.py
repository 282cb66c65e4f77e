"""The end of a run whose loss or gradient is no number any more."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mimeval.engine.hooks.checkpoint import at_update
from mimeval.errors import UserError
from mimeval.registry import HOOKS

CAUSES = (
    "likely causes: a learning rate that is too high (lower base_lr or optim_wrapper.optimizer.lr, or lengthen the warm-up), "
    "fp16 (try --precision bf16 or fp32), or a damaged image or label"
)
MOST_FILES = 8


@HOOKS.register_module()
class FiniteHook(Hook):
    """Stops in the very iteration in which a loss, the gradient's norm or, when saving, a parameter is NaN or infinite.

    skips: updates in a row that fp16's loss scaling may leave out because of infinite gradients.

    Raises:
        UserError: it names the losses, the batch's files, the last checkpoint and the likely causes.
    """

    # After RuntimeInfoHook, which has read the losses from the device, and before all that logs or saves.
    priority = "HIGH"

    def __init__(self, skips: int = 50) -> None:
        self.skips = skips
        self.skipped = 0

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Look at this iteration's losses and, if it made an update, at the norm of the gradient."""
        scalars = runner.message_hub.log_scalars
        losses = {name: float(scalars[f"train/{name}"].current()) for name in outputs or {} if "loss" in name}
        if not all(map(math.isfinite, losses.values())):
            values = ", ".join(f"{name} {value:g}" for name, value in losses.items())
            # Averaged over processes, so that all of them are here; the files of one that has finite losses are not at fault.
            own = [
                float(torch.as_tensor(value).detach()) for name, value in runner.own_outputs.items() if name in losses
            ]
            files = [] if all(map(math.isfinite, own)) else _files(data_batch)
            raise UserError(_sentence(runner, runner.iter + 1, f"found {values}", files))
        norm = getattr(runner.optim_wrapper, "grad_norm", None)
        if norm is None or not at_update(runner):
            return
        self.skipped = 0 if math.isfinite(norm) else self.skipped + 1
        allowed = self.skips if getattr(runner.optim_wrapper, "scaler", None) is not None else 0
        if self.skipped > allowed:
            found = f"found a gradient of norm {norm:g}" + (f" in {self.skipped} updates in a row" if allowed else "")
            raise UserError(_sentence(runner, runner.iter + 1, found, _files(data_batch)))

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """A checkpoint that cannot be gone on from is not written."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        # Those of the checkpoint: a model that is spread over processes has only a part of each here.
        wrong = [
            name for name, _ in model.named_parameters() if not torch.isfinite(checkpoint["state_dict"][name]).all()
        ]
        if wrong:
            names = f"{wrong[0]} and {len(wrong) - 1} more" if len(wrong) > 1 else wrong[0]
            found = f"found a parameter that is not, {names}, and wrote no checkpoint"
            raise UserError(_sentence(runner, checkpoint["meta"]["iter"], found))


def _sentence(runner: Any, iteration: int, found: str, own_files: list[str] | None = None) -> str:
    """`own_files`: of this process; with them, all processes have to call. Without, one may do so alone."""
    files = [file for files in all_gather_object(own_files) for file in files] if own_files is not None else []
    named = f" on {', '.join(files[:MOST_FILES])}" if files else ""
    if len(files) > MOST_FILES:
        named += f" and {len(files) - MOST_FILES} more"
    kept = f"the last good checkpoint is {runner.saved[1]}" if runner.saved else "no checkpoint was saved before"
    return f"config {runner.source}: expected finite numbers in iteration {iteration}{named}, {found}; {kept}; {CAUSES}"


def _files(batch: Any) -> list[str]:
    samples = batch.get("data_samples") if isinstance(batch, dict) else None
    return [str(sample.img_path) for sample in samples or () if hasattr(sample, "img_path")]
