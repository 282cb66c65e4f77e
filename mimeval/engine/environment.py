"""One-time set-up of a process: quiet libraries, threads that fit the machine, operators, safe checkpoint reading."""

from __future__ import annotations

import functools
import gc
import logging
import math
import os
from pathlib import Path
from typing import Any

import mmengine.logging
import torch
from mmengine.logging import MMLogger

from mimeval.checkpoints.safe_loader import install_safe_loader
from mimeval.engine import mmcv_ops
from mimeval.engine.memory import keep_freed_memory
from mimeval.quiet import filter_warnings


def usable_cores() -> int:
    """CPU cores that this process may use: its affinity, and its container's quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return cores


def _log_instead_of_printing() -> None:
    # Without a logger mmengine prints, debug messages too: each mm* package says at import that it lacks OneDL.
    plain = mmengine.logging.print_log

    def print_log(msg: Any, logger: Any = None, level: int = logging.INFO) -> None:
        plain(msg, "current" if logger is None else logger, level)

    mmengine.logging.print_log = print_log


def spare_modules() -> None:
    """Leave what is in memory out of later garbage collections.

    mmengine asks for one with every data set that it builds; imported modules alone are a million objects to look through
    (0.2 s), a third of the time of a small task.
    """
    gc.collect()
    gc.freeze()


@functools.cache
def setup_environment() -> None:
    """Do all of it, once per process."""
    filter_warnings()
    _log_instead_of_printing()

    if "OMP_NUM_THREADS" not in os.environ:
        # Ranks on one machine share its cores; torch alone would start as many threads in each as there are cores.
        torch.set_num_threads(max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
    keep_freed_memory()
    # Before a runner exists, mmengine logs to a logger of this name, on the terminal and from INFO on.
    MMLogger.get_instance("mmengine", log_level="ERROR")
    mmcv_ops.install()
    install_safe_loader()
