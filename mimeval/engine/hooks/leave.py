"""SIGTERM and SIGINT during a training: the iteration is finished, a checkpoint written, and the run leaves."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import all_reduce, barrier
from mmengine.hooks import Hook

from mimeval.engine.hooks.checkpoint import CheckpointHook, at_update
from mimeval.registry import HOOKS
from mimeval.signals import Stopped, wished


@HOOKS.register_module()
class LeaveHook(Hook):
    """Raises Stopped once a checkpoint of this very iteration is on the disk; all processes do so in the same iteration.

    A signal that comes during a validation waits for its end, unless the weights that are validated are on the disk already.
    """

    # After all others: the checkpoint is of a finished iteration.
    priority = "LOWEST"

    def __init__(self) -> None:
        self.wish = 0
        self.every = 1
        self.shared = 0

    def before_train(self, runner: Any) -> None:
        """Choose how often the processes ask each other."""
        # On GPUs the answer makes the host wait for all that is queued on the device, and a step takes far less than the
        # grace period of any signal: every tenth step loses nothing. On CPUs there is no queue.
        self.every = 10 if dist.is_initialized() and dist.get_backend() == "nccl" else 1

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Leave, if a signal came and no gradients are half accumulated."""
        done = runner.iter + 1
        if not self.wish and done % self.every == 0:
            self.wish = agreed(wished())
        if self.wish and at_update(runner):
            if runner.saved is None or runner.saved[0] != done:
                self._save(runner)
            self._leave(runner)

    def before_val_epoch(self, runner: Any) -> None:
        """Processes may have unequally many batches; they can ask each other in those that all have."""
        self.shared = -agreed(-len(runner.val_dataloader))

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Leave, if a signal came and a resume would begin with this validation."""
        if runner.saved is None or runner.saved[0] != runner.iter:
            return
        if batch_idx < self.shared and (batch_idx + 1) % self.every == 0:
            self.wish = self.wish or agreed(wished())
            if self.wish:
                self._leave(runner)

    def _save(self, runner: Any) -> None:
        hook = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
        if hook is None:
            hook = CheckpointHook()
            hook.before_train(runner)
        hook.save_now(runner)

    def _leave(self, runner: Any) -> None:
        # The first process writes. Others that ended before it would have it killed by their launcher.
        barrier()
        iteration, path = runner.saved
        raise Stopped(self.wish, f"iteration {iteration} is saved in {path}")


def agreed(number: int) -> int:
    """The largest of what the processes pass, to each of them."""
    shared = torch.tensor(number)
    all_reduce(shared, "max")
    return int(shared)
