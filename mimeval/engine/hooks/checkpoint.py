"""Checkpoints of a run: between updates only, the new one whole before an old one goes, and never fewer than two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mmengine.hooks
from mmengine.dist import is_main_process

from mimeval.errors import UserError
from mimeval.files import write_whole
from mimeval.registry import HOOKS

KEPT = "kept_checkpoints"  # their names, oldest first, in the message hub and so in every checkpoint


def at_update(runner: Any) -> bool:
    """Whether no gradients wait for further batches: False between two updates of an accumulating run."""
    return getattr(runner.optim_wrapper, "should_update", lambda: True)()


@HOOKS.register_module()
class CheckpointHook(mmengine.hooks.CheckpointHook):
    """mmengine's, which removes the oldest checkpoint before it writes, and writes while gradients are half accumulated.

    A checkpoint that falls between two updates is written at the next one, as `iter_N.pth`; so is what `save_now` writes.
    `max_keep_ckpts` counts all of them; -1 keeps all.

    Raises:
        UserError: `max_keep_ckpts=1`, with which a damaged file would end a run for good; or a file cannot be written.
    """

    def __init__(self, *args: Any, max_keep_ckpts: int = -1, **kwargs: Any) -> None:
        if max_keep_ckpts == 1:
            raise UserError(
                "default_hooks.checkpoint.max_keep_ckpts: expected 2 or more (or -1, all), found 1; with a single one nothing "
                "is left when it is damaged"
            )
        super().__init__(*args, max_keep_ckpts=max_keep_ckpts, **kwargs)
        self.postponed = False

    def before_train(self, runner: Any) -> None:
        """Find the folder, and clear it of what a killed process had begun to write."""
        super().before_train(runner)
        if is_main_process():
            for begun in Path(self.out_dir).glob(".*.pth.*.tmp"):
                begun.unlink(missing_ok=True)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Write what is due after this iteration, or was due before and fell between two updates."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self.postponed and at_update(runner):
            self.save_now(runner)

    def save_now(self, runner: Any) -> None:
        """Write `iter_N.pth` in the hooks after an iteration, also inside an epoch."""
        done = runner.iter + 1
        self._write(runner, f"iter_{done}.pth", dict(epoch=runner.epoch, iter=done))

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict) -> None:
        if at_update(runner):
            self._write(runner, self.filename_tmpl.format(step), meta)
        else:
            self.postponed = True

    def _write(self, runner: Any, name: str, meta: dict) -> None:
        self.postponed = False
        kept = [*(other for other in runner.message_hub.get_info(KEPT, []) if other != name), name]
        surplus = kept[: -self.max_keep_ckpts] if self.max_keep_ckpts > 0 else []
        runner.message_hub.update_info(KEPT, kept[len(surplus) :])
        path = Path(self.out_dir, name)
        self.last_ckpt = str(path)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        runner.saved = (meta["iter"], path)
        if is_main_process():
            write_whole(Path(runner.work_dir, "last_checkpoint"), lambda file: file.write_text(str(path)))
            for old in surplus:
                path.with_name(old).unlink(missing_ok=True)
