"""From a config to a run: keys checked, rate resolved, processes joined, mmengine's Runner built, logs kept off the terminal."""

from __future__ import annotations

import copy
import inspect
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mmengine.runner
import torch
from mmengine.config import Config
from mmengine.dist import get_dist_info, master_only
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.utils import apply_to

import mimeval
from mimeval.checkpoints.state import write_pth
from mimeval.engine.environment import setup_environment
from mimeval.engine.faults import blame_config
from mimeval.engine.launch import init_distributed
from mimeval.engine.lr import resolve_lr
from mimeval.engine.outputs import WorkDir, latest_checkpoint
from mimeval.errors import UserError

# What mmengine's Runner takes, what it reads from its cfg besides, and what mimeval adds.
RUN_KEYS = (
    set(inspect.signature(mmengine.runner.Runner.__init__).parameters) - {"self", "cfg"}
    | {
        "model_wrapper_cfg",
        "sync_bn",
        "find_unused_parameters",
        "compile",
        "activation_checkpointing",
        "custom_imports",
    }
    | {"base_lr", "data_root"}
)
# Two runs of one process in one second would share mmengine's loggers and scalars, which go by name.
_RUN_NUMBER = itertools.count()


class Runner(mmengine.runner.Runner):
    """mmengine's Runner: log in the work dir only, checkpoints whole or not at all, strict loading, errors that name the config."""

    output: WorkDir | None = None
    rate: str | None = None
    started = False

    @property
    def source(self) -> str | None:
        """The config file this run was built from."""
        return self.cfg.filename

    def build_logger(self, log_level: int | str = "INFO", log_file: str | None = None, **kwargs: Any) -> MMLogger:
        """mmengine's logger; only errors reach the terminal, everything the log file."""
        logger = super().build_logger(log_level, log_file, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.setLevel(logging.ERROR)
        return logger

    @master_only
    def dump_config(self) -> None:
        """Write the resolved config to work_dir/config.py."""
        Path(self.work_dir, "config.py").write_text(self.cfg.pretty_text, encoding="utf-8")

    def build_train_loop(self, loop: Any) -> Any:
        """mmengine's; a fault is the config's."""
        with blame_config(self.source):
            return super().build_train_loop(loop)

    def build_val_loop(self, loop: Any) -> Any:
        """mmengine's; a fault is the config's."""
        with blame_config(self.source):
            return super().build_val_loop(loop)

    def build_test_loop(self, loop: Any) -> Any:
        """mmengine's; a fault is the config's."""
        with blame_config(self.source):
            return super().build_test_loop(loop)

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """mmengine's; a fault is the config's."""
        with blame_config(self.source):
            return super().build_optim_wrapper(optim_wrapper)

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """mmengine's; a fault is the config's."""
        with blame_config(self.source):
            return super().build_param_scheduler(scheduler)

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """mmengine's; notes that a step was made, after which a failing run keeps its folder."""
        super().call_hook(fn_name, **kwargs)
        self.started |= fn_name == "after_train_iter"

    def load_checkpoint(
        self,
        filename: str,
        map_location: Any = "cpu",
        strict: bool = True,
        revise_keys: Sequence[tuple[str, str]] = ((r"^module\.", ""),),
    ) -> dict:
        """Load a whole model's state.

        Raises:
            UserError: the file cannot be read, or its names or shapes are not exactly the model's.
        """
        try:
            return super().load_checkpoint(filename, map_location, strict, list(revise_keys))
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"checkpoint {filename}: expected exactly the parameters of {self.model_name} in {self.source}; {reason}; "
                "to start from a pre-trained backbone set model.backbone.init_cfg instead"
            ) from error

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Continue from a checkpoint of this runner.

        Raises:
            UserError: it cannot be read, is of another model, holds weights only, or was made with another seed.
        """
        configured = self.seed
        try:
            super().resume(filename, *args, **kwargs)
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

    @master_only
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
        """mmengine's checkpoint, written to a temporary name and renamed.

        Raises:
            UserError: the folder cannot be written, or is not a local one.
        """
        if file_client_args is not None or backend_args is not None:
            raise UserError(
                "default_hooks.checkpoint: checkpoints are written to local folders only; remove backend_args"
            )
        model = self.model.module if is_model_wrapper(self.model) else self.model
        done = dict(epoch=self.epoch + 1, iter=self.iter) if by_epoch else dict(epoch=self.epoch, iter=self.iter + 1)
        checkpoint = {
            "meta": {
                **done,
                **(meta or {}),
                "cfg": self.cfg.pretty_text,
                "seed": self.seed,
                "experiment_name": self.experiment_name,
                "time": time.strftime("%Y%m%d_%H%M%S"),
                "mimeval_version": mimeval.__version__,
                "dataset_meta": getattr(self.train_dataloader.dataset, "metainfo", {}),
            },
            "state_dict": model.state_dict(),
            "message_hub": self.message_hub.state_dict(),
        }
        if save_optimizer:
            checkpoint["optimizer"] = self.optim_wrapper.state_dict()
        if save_param_scheduler and self.param_schedulers is not None:
            checkpoint["param_schedulers"] = [scheduler.state_dict() for scheduler in self.param_schedulers]
        self.call_hook("before_save_checkpoint", checkpoint=checkpoint)
        checkpoint = apply_to(checkpoint, torch.is_tensor, lambda tensor: tensor.cpu())
        write_pth(Path(out_dir, filename), checkpoint)

    def train(self) -> torch.nn.Module:
        """Train; if the user is at fault before the first step, the work dir is left as it was."""
        with _undone_on_fault(self.output, lambda: not self.started):
            return super().train()

    def test(self) -> dict:
        """Test; returns metrics by name. The work dir is left as it was if the user is at fault."""
        with _undone_on_fault(self.output, lambda: True):
            return super().test()


@contextmanager
def _undone_on_fault(output: WorkDir | None, wanted: Callable[[], bool]) -> Iterator[None]:
    try:
        yield
    except UserError:
        if output is not None and wanted() and get_dist_info()[0] == 0:
            output.discard()
        raise


def prepare(
    cfg: Config,
    work_dir: str | None = None,
    resume: str | None = None,
    precision: str | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
    launcher: str = "none",
    seed: int | None = None,
) -> None:
    """Write the choices of a command line into a run's config. `resume` is a checkpoint or 'auto' (the work dir's latest).

    Raises:
        UserError: contradictory choices, or a checkpoint to resume from that is not there.
    """
    cfg.launcher = launcher
    cfg.work_dir = work_dir or cfg.get("work_dir") or str(Path("work_dirs", Path(cfg.filename or "run").stem))
    if seed is not None:
        cfg.randomness = dict(cfg.get("randomness") or {}, seed=seed)
    if amp and precision == "fp32":
        raise UserError("--amp --precision fp32: --amp asks for less than fp32; leave one of them out")
    if amp and precision is None:
        precision = "bf16" if not torch.cuda.is_available() or torch.cuda.is_bf16_supported() else "fp16"
    if precision is not None and cfg.get("optim_wrapper"):
        wrapper = cfg.optim_wrapper
        for key in ("dtype", "loss_scale", "use_fp16"):
            wrapper.pop(key, None)
        wrapper.update(type="AutocastOptimWrapper", precision=precision)
    if auto_scale_lr:
        cfg.auto_scale_lr = dict(cfg.get("auto_scale_lr") or {}, enable=True)
    if resume is None:
        return
    checkpoint = latest_checkpoint(cfg.work_dir) if resume == "auto" else Path(resume)
    if checkpoint is None:
        return
    if not checkpoint.is_file():
        raise UserError(
            f"--resume {resume}: expected a checkpoint file, found none; --resume alone takes the latest one"
        )
    cfg.resume, cfg.load_from = True, str(checkpoint)


def build_runner(cfg: Config) -> Runner:
    """A run that is ready for `train()` or `test()`; joins the processes that cfg.launcher names. `cfg` is not changed.

    Raises:
        UserError: whatever keeps a run from being built: keys, types, values, the work dir, the launcher, the rate.
    """
    setup_environment()
    for key in cfg:
        if key not in RUN_KEYS:
            raise UserError(f"config {cfg.filename}: '{key}' is no key of a run; remove it")
    cfg = copy.deepcopy(cfg)
    dist_cfg = (cfg.get("env_cfg") or {}).get("dist_cfg") or {}
    init_distributed(cfg.get("launcher", "none"), dist_cfg.get("timeout"))
    rate = _fill(cfg)
    output = WorkDir(cfg.work_dir)
    with _undone_on_fault(output, lambda: True):
        with blame_config(cfg.filename):
            runner = Runner.from_cfg(cfg)
    runner.output, runner.rate = output, rate
    return runner


def _fill(cfg: Config) -> str | None:
    """Put what every run needs where the config is silent; returns the line about the learning rate."""
    # yapf takes longer over a config than a small run over an epoch.
    object.__setattr__(cfg, "_format_python_code", False)
    cfg.setdefault("default_scope", "mimeval")
    cfg.setdefault("work_dir", str(Path("work_dirs", Path(cfg.filename or "run").stem)))
    cfg.randomness = dict(dict(seed=0), **(cfg.get("randomness") or {}))
    cfg.experiment_name = f"{Path(cfg.filename or 'run').stem}-{next(_RUN_NUMBER)}"
    cfg.setdefault(
        "visualizer",
        dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")]),
    )
    hooks = list(cfg.get("custom_hooks") or [])
    for hook in ("ThroughputHook", "ProgressHook"):
        if hook not in [item["type"] for item in hooks]:
            hooks.append(dict(type=hook))
    cfg.custom_hooks = hooks
    if cfg.get("launcher", "none") != "none" and not torch.cuda.is_available():
        cfg.model_wrapper_cfg = dict(
            dict(
                type="MMDistributedDataParallel",
                broadcast_buffers=False,
                find_unused_parameters=cfg.get("find_unused_parameters", False),
            ),
            **(cfg.get("model_wrapper_cfg") or {}),
            device_ids=None,
        )
    if not cfg.get("train_cfg"):
        return None
    by_epoch = cfg.train_cfg.get("type", "") != "IterBasedTrainLoop" and cfg.train_cfg.get("by_epoch", True)
    cfg.log_processor = dict(dict(by_epoch=by_epoch), **(cfg.get("log_processor") or {}))
    default_hooks = dict(cfg.get("default_hooks") or {})
    default_hooks["checkpoint"] = dict(
        dict(type="CheckpointHook", interval=1 if by_epoch else 1000, by_epoch=by_epoch, max_keep_ckpts=2),
        **(default_hooks.get("checkpoint") or {}),
    )
    cfg.default_hooks = default_hooks
    if cfg.optim_wrapper.get("type", "OptimWrapper") == "OptimWrapper":
        cfg.optim_wrapper.update(type="AutocastOptimWrapper")
    return resolve_lr(cfg, get_dist_info()[1])
