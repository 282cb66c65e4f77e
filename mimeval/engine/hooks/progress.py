"""The one line that a person watches during a run."""

from __future__ import annotations

import datetime
import time
from numbers import Real
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mimeval.engine.live import LiveLine
from mimeval.registry import HOOKS


@HOOKS.register_module()
class ProgressHook(Hook):
    """Epoch, step, losses, rate, images/s and remaining time; a plain line every `every` seconds without a terminal.

    `prefix` stands before every line: a suite says there which task is running.
    """

    # After LoggerHook, whose averages it shares, and before checkpoints are written.
    priority = "LOW"

    def __init__(self, every: float = 30.0, prefix: str = "", window: int = 10) -> None:
        self.every = every
        self.prefix = prefix
        self.window = window
        self.line: LiveLine | None = None

    def before_run(self, runner: Any) -> None:
        """Open the line, on the first process only."""
        self.line = LiveLine(every=self.every, prefix=self.prefix) if runner.rank == 0 else None

    def before_train(self, runner: Any) -> None:
        """Say which learning rate the run has, and remember when and where it began."""
        if self.line is not None and getattr(runner, "rate", None):
            self.line.note(runner.rate)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for caveat in getattr(model, "caveats", ()):
            runner.logger.warning(caveat)  # in the log file; on the terminal only errors are
            if self.line is not None:
                self.line.note(caveat)
        self.start = time.monotonic()
        self.first_iter = runner.iter

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Show the state after this step."""
        if self.line is None:
            return
        hub = runner.message_hub
        done, total = runner.iter + 1, runner.max_iters
        parts = [f"step {done}/{total}"]
        if runner.max_epochs > 1:
            parts.insert(0, f"epoch {runner.epoch + 1}/{runner.max_epochs}")
        for name in outputs or {}:
            if name.startswith("loss"):
                parts.append(f"{name} {hub.get_scalar(f'train/{name}').mean(self.window):.4f}")
        if "train/lr" in hub.log_scalars:
            parts.append(f"lr {hub.get_scalar('train/lr').current():.3g}")
        if "train/images_per_s" in hub.log_scalars:
            parts.append(f"{hub.get_scalar('train/images_per_s').current():.4g} images/s")
        per_step = (time.monotonic() - self.start) / (done - self.first_iter)
        parts.append(f"eta {clock(per_step * (total - done))}")
        self.line.update("  ".join(parts))

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Show how far validation is."""
        if self.line is not None:
            self.line.update(f"validation {batch_idx + 1}/{len(runner.val_dataloader)}")

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Show how far the test is."""
        if self.line is not None:
            self.line.update(f"test {batch_idx + 1}/{len(runner.test_dataloader)}")

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Leave a line with the metrics."""
        if self.line is not None and metrics:
            self.line.note(f"validation at step {runner.iter}: {figures(metrics)}")

    def after_train(self, runner: Any) -> None:
        """Leave a line that says what was done."""
        if self.line is not None:
            steps = runner.iter - self.first_iter
            model = runner.model.module if is_model_wrapper(runner.model) else runner.model
            took = clock(time.monotonic() - self.start)
            self.line.note(f"trained {type(model).__name__} for {steps} steps in {took}; results in {runner.work_dir}")

    def after_run(self, runner: Any) -> None:
        """Leave the terminal clean."""
        if self.line is not None:
            self.line.clear()


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    return str(datetime.timedelta(seconds=round(seconds)))


def figures(metrics: dict[str, Any]) -> str:
    """Numbers by name, four digits."""
    return "  ".join(f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, Real))
