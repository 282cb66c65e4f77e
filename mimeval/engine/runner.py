"""From a config to a run: choices of the command line, what the config leaves open, keys checked, processes joined."""

from __future__ import annotations

import copy
import inspect
import itertools
from pathlib import Path

import mmengine.runner
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import barrier, get_dist_info
from mmengine.registry import VISUALIZERS

from mimeval.checkpoints.state import check_whole
from mimeval.engine.environment import setup_environment
from mimeval.engine.evaluation import deal_batches
from mimeval.engine.faults import blame_config
from mimeval.engine.launch import init_distributed
from mimeval.engine.lr import resolve_lr
from mimeval.engine.outputs import WorkDir, checkpoint_names, latest_checkpoint
from mimeval.engine.strict_runner import StrictRunner, undone_on_fault
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
        "fsdp",
    }
    | {"base_lr", "data_root", "protocol", "strict_data"}
)
# Two runs of one process in one second would share mmengine's loggers and scalars, which go by name.
_RUN_NUMBER = itertools.count()


def prepare(
    cfg: Config,
    work_dir: str | None = None,
    resume: str | None = None,
    precision: str | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
    launcher: str = "none",
    seed: int | None = None,
    strict_data: bool = False,
) -> None:
    """Write the choices of a command line into a run's config. `resume`: a checkpoint, or 'auto' (the latest one).

    Raises:
        UserError: contradictory choices, or a checkpoint to resume from that is not there.
    """
    cfg.launcher = launcher
    cfg.work_dir = work_dir or cfg.get("work_dir") or str(Path("work_dirs", Path(cfg.filename or "run").stem))
    if seed is not None:
        cfg.randomness = dict(cfg.get("randomness") or {}, seed=seed)
    if strict_data:
        cfg.strict_data = True
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
    checkpoint = _newest(cfg.work_dir) if resume == "auto" else Path(resume)
    if checkpoint is None:
        return
    if not checkpoint.is_file():
        raise UserError(
            f"--resume {resume}: expected a checkpoint file, found none; --resume alone takes the latest one"
        )
    if resume != "auto":
        check_whole(checkpoint)
    cfg.resume, cfg.load_from = True, str(checkpoint)


def _newest(work_dir: str) -> Path | None:
    checkpoint = latest_checkpoint(work_dir)
    if checkpoint is None and (names := checkpoint_names(work_dir)):
        raise UserError(
            f"--resume: expected a whole checkpoint in {work_dir}, found only damaged ones ({', '.join(names)}); "
            "remove them to begin anew"
        )
    return checkpoint


def as_test(cfg: Config, checkpoint: str) -> None:
    """Make a config's run a test of `checkpoint` on its test or else validation set; training data is not needed.

    Raises:
        UserError: the config has neither set, or the checkpoint is not there.
    """
    if not Path(checkpoint).is_file():
        raise UserError(
            f"checkpoint {checkpoint}: expected a file, found none; give a checkpoint that `mimeval train` wrote"
        )
    if not cfg.get("test_dataloader"):
        if not cfg.get("val_dataloader"):
            raise UserError(f"config {cfg.filename}: expected a test_dataloader or val_dataloader, found neither")
        for part in ("dataloader", "evaluator"):
            cfg[f"test_{part}"] = cfg[f"val_{part}"]
        cfg.test_cfg = dict(cfg.get("test_cfg") or {}, type="TestLoop")
    for part in ("dataloader", "cfg", "evaluator"):
        cfg[f"val_{part}"] = None
    cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = cfg.param_scheduler = None
    cfg.load_from, cfg.resume = checkpoint, False


def build_runner(cfg: Config) -> StrictRunner:
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
    with blame_config(cfg.filename):
        _check_parts(cfg)
        rate = _fill(cfg)
    # One process makes the folder, so that the same one knows what to take away.
    output = WorkDir(cfg.work_dir) if get_dist_info()[0] == 0 else None
    barrier()
    with undone_on_fault(output, lambda: _close_visualizer(cfg.visualizer), True), blame_config(cfg.filename):
        runner = StrictRunner.from_cfg(cfg)
    runner.output, runner.rate = output, rate
    return runner


def _check_parts(cfg: Config) -> None:
    if not cfg.get("model"):
        raise UserError(f"config {cfg.filename}: expected a model to run, found none; is it the config of a run?")
    parts = ("train_dataloader", "train_cfg", "optim_wrapper")
    lacking = [part for part in parts if not cfg.get(part)]
    if 0 < len(lacking) < len(parts):
        raise UserError(
            f"config {cfg.filename}: expected {', '.join(parts)} to train, found no {' and no '.join(lacking)}; "
            "a config that trains nothing is run by `mimeval transfer`"
        )


def _close_visualizer(cfg: ConfigDict) -> None:
    visualizer = VISUALIZERS.get(cfg.type)
    if visualizer is not None and visualizer.check_instance_created(cfg.name):
        visualizer.get_instance(cfg.name).close()


def _fill(cfg: Config) -> str | None:
    """Put what every run needs where the config is silent; returns the line about the learning rate."""
    # yapf takes longer over a config than a small run over an epoch.
    object.__setattr__(cfg, "_format_python_code", False)
    cfg.setdefault("default_scope", "mimeval")
    cfg.setdefault("work_dir", str(Path("work_dirs", Path(cfg.filename or "run").stem)))
    cfg.randomness = dict(dict(seed=0), **(cfg.get("randomness") or {}))
    cfg.experiment_name = f"{Path(cfg.filename or 'run').stem}-{next(_RUN_NUMBER)}"
    backends = [dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")]
    visualizer = dict(type="Visualizer", vis_backends=backends) | dict(cfg.get("visualizer") or {})
    cfg.visualizer = visualizer | dict(name=cfg.experiment_name)
    hooks = list(cfg.get("custom_hooks") or [])
    present = {hook["type"] for hook in [*hooks, *(cfg.get("default_hooks") or {}).values()] if hook}
    always = ("FiniteHook", "InputFilesHook", "ThroughputHook", "ProgressHook", "LeaveHook")
    hooks += [dict(type=name) for name in always if name not in present]
    hooks = [hook for hook in hooks if hook["type"] != "DamagedFilesHook"]
    cfg.custom_hooks = [*hooks, dict(type="DamagedFilesHook", strict=bool(cfg.get("strict_data")))]
    if get_dist_info()[1] > 1:
        for part in ("val_dataloader", "test_dataloader"):
            deal_batches(cfg, part, even=bool(cfg.get("fsdp")))
    if cfg.get("launcher", "none") != "none" and not torch.cuda.is_available():
        # mmengine's own wrapping would name a GPU.
        unused = cfg.get("find_unused_parameters", False)
        wrapper = dict(type="MMDistributedDataParallel", broadcast_buffers=False, find_unused_parameters=unused)
        cfg.model_wrapper_cfg = wrapper | dict(cfg.get("model_wrapper_cfg") or {}) | dict(device_ids=None)
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
