"""mmengine's Runner with a quiet terminal, whole checkpoints, strict loading and errors that name the config."""

from __future__ import annotations

import copy
import errno
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mmengine.runner
import torch
from mmengine.dist import all_gather_object, is_main_process, master_only
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.utils import apply_to

import mimeval
from mimeval.checkpoints.state import read_file, write_pth
from mimeval.datasets import layouts
from mimeval.engine import provenance
from mimeval.engine.evaluation import BatchDealer
from mimeval.engine.faults import blame_config
from mimeval.engine.loops import dismiss_workers
from mimeval.engine.outputs import WorkDir
from mimeval.engine.parallel import ParallelRunner
from mimeval.engine.position import go_to, position
from mimeval.engine.randomness import seed_step
from mimeval.engine.sharding import load_whole
from mimeval.engine.workers import guard_workers
from mimeval.errors import UserError
from mimeval.registry import LOOPS, OPTIMIZERS
from mimeval.signals import handled


class StrictRunner(ParallelRunner):
    """A run. `output` is its folder, `rate` the line about its learning rate; both are set by `build_runner`.

    `saved`: the iterations that the newest checkpoint has seen, and its file. `own_outputs`: this process's losses of the present
    iteration.
    """

    output: WorkDir | None = None
    rate: str | None = None
    started = False
    saved: tuple[int, Path] | None = None
    own_outputs: dict[str, Any] | None = None

    @property
    def source(self) -> str | None:
        """The config file this run was built from."""
        return self.cfg.filename

    def build_logger(self, log_level: int | str = "INFO", log_file: str | None = None, **kwargs: Any) -> MMLogger:
        """mmengine's logger; only errors reach the terminal, everything the log file."""
        logger = super().build_logger(log_level, log_file, **kwargs)
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                # On a full disk it would print a traceback for every line; the first scalar says it in a sentence.
                handler.handleError = lambda record: None  # type: ignore[method-assign]
            else:
                handler.setLevel(logging.ERROR)
        return logger

    @master_only
    def dump_config(self) -> None:
        """Write the resolved config to work_dir/config.py; it repeats the run from its beginning, also of a resumed one."""
        cfg = copy.deepcopy(self.cfg)
        if cfg.get("resume"):
            cfg.resume, cfg.load_from = False, None
        Path(self.work_dir, "config.py").write_text(cfg.pretty_text, encoding="utf-8")

    @staticmethod
    def build_dataloader(dataloader: Any, *args: Any, **kwargs: Any) -> Any:
        """mmengine's; a fault in the data names the file, also one that is met later.

        Raises:
            UserError: an annotation file is at fault, or there is less data than one batch.
        """
        with layouts.explained(dataloader):
            built = mmengine.runner.Runner.build_dataloader(dataloader, *args, **kwargs)
        layouts.name_samples(built.dataset)
        # A process may get no batch of a short evaluation.
        if len(built) == 0 and not isinstance(built.sampler, BatchDealer):
            raise UserError(
                f"train_dataloader: expected at least a batch of {built.batch_size} samples, found "
                f"{len(built.dataset)} and drop_last=True; lower batch_size"
            )
        guard_workers(built)
        return built

    def build_train_loop(self, loop: Any) -> Any:
        """One of mimeval's loops in place of mmengine's of the same name; a fault is the config's."""
        if isinstance(loop, dict):
            loop = dict(loop)
            if "type" not in loop:
                loop["type"] = "EpochBasedTrainLoop" if loop.pop("by_epoch", True) else "IterBasedTrainLoop"
            if loop["type"] in LOOPS.module_dict:
                loop["type"] = f"mimeval.{loop['type']}"
        with blame_config(self.source):
            built = super().build_train_loop(loop)
        self._check_classes(built.dataloader)
        return built

    def build_val_loop(self, loop: Any) -> Any:
        """mmengine's; a fault is the config's."""
        with blame_config(self.source):
            built = super().build_val_loop(loop)
        layouts.check_same_classes(self.train_dataloader.dataset, built.dataloader.dataset)
        return built

    def build_test_loop(self, loop: Any) -> Any:
        """mmengine's; a fault is the config's."""
        with blame_config(self.source):
            built = super().build_test_loop(loop)
        self._check_classes(built.dataloader)
        return built

    def _check_classes(self, loader: Any) -> None:
        model = self.model.module if is_model_wrapper(self.model) else self.model
        layouts.check_class_count(model, loader.dataset, self.source)

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """mmengine's; a fault is the config's."""
        with blame_config(self.source):
            name = optim_wrapper.get("optimizer", {}).get("type") if isinstance(optim_wrapper, dict) else None
            if isinstance(name, str) and OPTIMIZERS.get(name) is None:
                # mmengine would say that None is not callable.
                raise KeyError(f"{name} is not in the mimeval::optimizer registry")
            return super().build_optim_wrapper(optim_wrapper)

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """mmengine's; a fault is the config's."""
        with blame_config(self.source):
            return super().build_param_scheduler(scheduler)

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """mmengine's; then, before a step, seeds it, and after one notes that it was made: a failing run keeps its folder."""
        if fn_name == "after_train_iter":
            self.own_outputs = kwargs.get("outputs")
        super().call_hook(fn_name, **kwargs)
        if fn_name == "before_train_iter":
            seed_step(self.seed, self.rank, self.iter)
        self.started |= fn_name == "after_train_iter"

    def load_checkpoint(self, filename: str, map_location: Any = "cpu", **_: Any) -> dict:
        """Load a whole model's state, and return what else the file holds.

        Raises:
            UserError: the file cannot be read, or its names or shapes are not exactly the model's.
        """
        checkpoint = read_file(filename, map_location=map_location)
        if not isinstance(checkpoint, dict):
            raise UserError(f"checkpoint {filename}: expected a dictionary, found a {type(checkpoint).__name__}")
        if isinstance(checkpoint.get("meta"), dict):
            checkpoint["meta"].pop("config", None)  # mmengine's resume would run it as Python
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        model = self.model.module if is_model_wrapper(self.model) else self.model
        state = checkpoint.get("state_dict", checkpoint)
        differing = differing_state(model.state_dict(), state if isinstance(state, dict) else {})
        if differing:
            raise UserError(
                f"checkpoint {filename}: expected the very parameters of {self.model_name} in {self.source}, "
                f"found {differing}; to start from a pre-trained backbone set model.backbone.init_cfg instead"
            )
        load_whole(model, state)
        self._has_loaded = True
        self._loaded_meta = checkpoint.get("meta") or {}
        self.logger.info(f"Loaded {filename}")
        return checkpoint

    def load_or_resume(self) -> None:
        """mmengine's, for all processes or none.

        Raises:
            UserError: the processes begin at different iterations, as they do where they find different files.
        """
        super().load_or_resume()
        iterations = all_gather_object(self.iter)
        if len(set(iterations)) > 1:
            places = ", ".join(f"iteration {done} on rank {rank}" for rank, done in enumerate(iterations[:8]))
            raise UserError(
                f"--resume: expected all processes to find the same checkpoint in {self.work_dir}, found {places}; "
                "put the work dir where all machines see it"
            )

    def resume(self, filename: str, *args: Any, map_location: Any = "cpu", **kwargs: Any) -> None:
        """Continue from a checkpoint of this runner, at its very iteration.

        Raises:
            UserError: it cannot be read, is of another model, holds weights only, was made with another seed, or stands where
                this run's batches have no border.
        """
        configured = self.seed
        try:
            # On the CPU: a step count of AdamW that came back on the GPU would be waited for in every step.
            super().resume(filename, *args, map_location=map_location, **kwargs)
        except KeyError as error:
            raise UserError(
                f"--resume {filename}: expected a checkpoint that a run wrote, found one without {error}; "
                "weights alone cannot be resumed"
            ) from error
        if self.seed != configured:
            raise UserError(
                f"--resume {filename}: it was made with seed {self.seed}, this run has seed {configured}; "
                f"add --seed {self.seed}, so that samples and masks go on as they were"
            )
        go_to(self, self._loaded_meta, filename)
        self.saved = (self.iter, Path(filename))

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict | None = None,
        by_epoch: bool = True,
        backend_args: dict | None = None,
    ) -> None:
        """mmengine's checkpoint, written to a temporary name and renamed by the first process. Every process has to call it.

        Raises:
            UserError: the folder cannot be written, or is not a local one.
        """
        if file_client_args is not None or backend_args is not None:
            raise UserError(
                "default_hooks.checkpoint: checkpoints are written to local folders only; remove backend_args"
            )
        model_state = self.whole_model_state()
        optimizer_state = self.optim_wrapper.state_dict() if save_optimizer else None
        if not is_main_process():
            return
        done = dict(epoch=self.epoch + 1, iter=self.iter) if by_epoch else dict(epoch=self.epoch, iter=self.iter + 1)
        done |= meta or {}
        checkpoint = {
            "meta": {
                **done,
                "position": position(self, done["epoch"], done["iter"]),
                "cfg": self.cfg.pretty_text,
                "seed": self.seed,
                "experiment_name": self.experiment_name,
                "time": time.strftime("%Y%m%d_%H%M%S"),
                "mimeval_version": mimeval.__version__,
                "training": {
                    "config": Path(self.source or "").name,
                    "command": provenance.command(),
                    "git": provenance.git_revision(),
                    "hardware": provenance.hardware(),
                    "versions": provenance.versions(),
                    "images_seen": self.message_hub.runtime_info.get("images_seen"),
                    "wall_s": self.message_hub.runtime_info.get("train_wall_s"),
                },
                "dataset_meta": getattr(self.train_dataloader.dataset, "metainfo", {}),
            },
            "state_dict": model_state,
            "message_hub": self.message_hub.state_dict(),
        }
        if save_optimizer:
            checkpoint["optimizer"] = optimizer_state
        if save_param_scheduler and self.param_schedulers is not None:
            checkpoint["param_schedulers"] = [scheduler.state_dict() for scheduler in self.param_schedulers]
        self.call_hook("before_save_checkpoint", checkpoint=checkpoint)
        checkpoint = apply_to(checkpoint, torch.is_tensor, lambda tensor: tensor.cpu())
        try:
            write_pth(Path(out_dir, filename), checkpoint)
        except UserError as error:
            raise UserError(f"{str(error).rstrip('.')}; {self._kept()}") from error

    def train(self) -> torch.nn.Module:
        """Train; if the user is at fault before the first step is done, the work dir is left as it was.

        Raises:
            Stopped: a signal asked the run to leave, and a checkpoint of its last iteration is written.
        """
        with handled(), undone_on_fault(self.output, self.visualizer.close, lambda: not self.started):
            if self._train_loop is None:
                raise UserError(f"config {self.source}: expected train_cfg and train_dataloader to train, found none")
            with blame_config(self.source, lambda: not self.started), self._disk_space():
                try:
                    return super().train()
                finally:
                    for loop in (self._train_loop, self._val_loop):
                        dismiss_workers(loop)

    @contextmanager
    def _disk_space(self) -> Iterator[None]:
        """A log that finds the disk full, too, is a sentence."""
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UserError(
                f"--work-dir {self.work_dir}: expected room for logs and checkpoints, found: {error.strerror}; {self._kept()}"
            ) from error

    def _kept(self) -> str:
        if self.saved is None:
            return "no checkpoint was saved before"
        return f"the last checkpoint is {self.saved[1]}: make room and go on with --resume"

    def test(self) -> dict:
        """Test; returns metrics by name. The work dir is left as it was if the user is at fault."""
        with undone_on_fault(self.output, self.visualizer.close, True):
            return super().test()


def differing_state(wanted: dict, found: dict) -> str:
    """In words, where the names and shapes of a state differ from a model's; empty if nowhere."""
    found = {name: value for name, value in found.items() if torch.is_tensor(value)}
    groups = {
        "missing": [name for name in wanted if name not in found],
        "unexpected": [name for name in found if name not in wanted],
        "of another shape": [n for n in wanted if n in found and found[n].shape != wanted[n].shape],
    }
    return ", ".join(
        f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for kind, names in groups.items()
        if names
    )


@contextmanager
def undone_on_fault(
    output: WorkDir | None, close: Callable[[], None], wanted: bool | Callable[[], bool]
) -> Iterator[None]:
    """Take back the work dir if the user is at fault inside; `close` ends what writes to it, such as TensorBoard."""
    try:
        yield
    except UserError:
        if output is not None and (wanted() if callable(wanted) else wanted):
            close()
            output.discard()
        raise
