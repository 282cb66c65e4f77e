"""Damaged files that a run meets, named once each, or the end of the run."""

from __future__ import annotations

from typing import Any

from mmengine.dist import all_gather_object, barrier
from mmengine.hooks import Hook

from mimeval.datasets.damaged import DamageLog, summarised
from mimeval.engine.hooks.progress import ProgressHook
from mimeval.engine.live import LiveLine
from mimeval.registry import HOOKS


@HOOKS.register_module()
class DamagedFilesHook(Hook):
    """Names damaged files in the log and in `work_dir/damaged.txt`, and their number in the last line of the run.

    Raises:
        UserError: with `strict`, before the first batch that has one is used.
    """

    # After ProgressHook, which clears its line.
    priority = "VERY_LOW"

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.log: DamageLog | None = None

    def before_run(self, runner: Any) -> None:
        """Read what is named already: each file is written down once."""
        self.log = DamageLog(runner.work_dir, self.strict)

    def before_train(self, runner: Any) -> None:
        """What an earlier part of a resumed run met counts; what another run left in the folder does not."""
        if runner.iter == 0 and self.log is not None:
            if runner.rank == 0:
                self.log.file.unlink(missing_ok=True)
            barrier()
            self.log = DamageLog(runner.work_dir, self.strict)
        elif self.log is not None:
            self.log.met.update(self.log.named)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Look at the batch before it is used."""
        self._note(runner, data_batch)

    def before_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Look at the batch before it is used."""
        self._note(runner, data_batch)

    def before_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Look at the batch before it is used."""
        self._note(runner, data_batch)

    def after_run(self, runner: Any) -> None:
        """Say how many all processes met."""
        if self.log is None:
            return
        met = {file: done for one in all_gather_object(self.log.met) for file, done in one.items()}
        if met and runner.rank == 0:
            summary = summarised(met, self.log.file)
            runner.logger.warning(summary)
            prefix = next((hook.prefix for hook in runner.hooks if isinstance(hook, ProgressHook)), "")
            LiveLine(prefix=prefix).note(summary)

    def _note(self, runner: Any, batch: Any) -> None:
        if self.log is None or not isinstance(batch, dict):
            return
        for damage in self.log.note(batch.get("data_samples") or ()):
            runner.logger.warning(f"damaged file {damage.file} ({damage.reason}): {damage.done}")
