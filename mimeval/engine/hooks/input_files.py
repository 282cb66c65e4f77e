"""Files that a model is made with besides its weights and data, such as a tokenizer's centres."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mimeval.errors import UserError
from mimeval.registry import HOOKS


@HOOKS.register_module()
class InputFilesHook(Hook):
    """Notes in every checkpoint what the model's modules say in `input_files()`: a dict with `file` and its `sha256`.

    They stand in meta.training.inputs, by the module's name.

    Raises:
        UserError: a checkpoint is loaded that was trained with another file.
    """

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Note the files."""
        if found := _input_files(runner):
            checkpoint["meta"]["training"]["inputs"] = found

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Hold this run's files against those noted."""
        training = (checkpoint.get("meta") or {}).get("training") or {}
        noted = training.get("inputs") or {}
        for name, own in _input_files(runner).items():
            theirs = noted.get(name, own)
            if theirs["sha256"] != own["sha256"]:
                raise UserError(
                    f"checkpoint {runner.cfg.load_from}: {name} was trained with {theirs['file']} "
                    f"(sha256 {theirs['sha256'][:12]}), found {own['file']} (sha256 {own['sha256'][:12]}); give the former file"
                )


def _input_files(runner: Any) -> dict[str, dict[str, str]]:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    told = {name: module.input_files() for name, module in model.named_modules() if hasattr(module, "input_files")}
    return {name: files for name, files in told.items() if files}
