"""Checkpoints of a run: the new one is whole before an old one goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mmengine.hooks
from mmengine.dist import is_main_process

from mimeval.registry import HOOKS


@HOOKS.register_module()
class CheckpointHook(mmengine.hooks.CheckpointHook):
    """mmengine's, which removes the oldest checkpoint first: with `max_keep_ckpts=1` a crash while saving left none."""

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict) -> None:
        kept = getattr(self, "keep_ckpt_ids", None)
        outdated = None
        if kept and len(kept) == self.max_keep_ckpts and kept[-1] != step:
            outdated = kept.popleft()
        super()._save_checkpoint_with_step(runner, step, meta)
        if outdated is not None and is_main_process():
            Path(self.out_dir, self.filename_tmpl.format(outdated)).unlink(missing_ok=True)
