"""One-time set-up of a process: quiet libraries, threads that fit the machine, operators, safe checkpoint reading."""

from __future__ import annotations

import functools
import logging
import math
import os
import warnings
from pathlib import Path

# Their deprecations and advice are about their own code; what a user can act on reaches him as a UserError.
THIRD_PARTY = (
    "mmengine mmcv mmdet mmseg mmpretrain timm torch torchvision numpy scipy sklearn matplotlib PIL cv2 "
    "imgaug imaug skimage pycocotools mlxtend tensorboard google pkg_resources transformers huggingface_hub"
).split()


def filter_warnings() -> None:
    """Keep warnings of third-party packages off the terminal; those of mimeval stay."""
    for package in THIRD_PARTY:
        warnings.filterwarnings("ignore", module=rf"{package}(\.|$)")
    # Warned with a stack level that points into our call, so that the module filter above does not see them.
    warnings.filterwarnings("ignore", message=".*lr_scheduler.step\\(\\).*before.*optimizer.step\\(\\).*")
    warnings.filterwarnings("ignore", message=".*pin_memory.*no accelerator.*")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for package in THIRD_PARTY:
        logging.getLogger(package).setLevel(logging.ERROR)


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


@functools.cache
def setup_environment() -> None:
    """Do all of it, once per process."""
    filter_warnings()
    import torch
    from mmengine.logging import MMLogger

    from mimeval.checkpoints.state import install_safe_loader
    from mimeval.engine import mmcv_ops

    if "OMP_NUM_THREADS" not in os.environ:
        # Ranks on one machine share its cores; torch alone would start as many threads in each as there are cores.
        torch.set_num_threads(max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
    # Before a runner exists, mmengine logs to a logger of this name, on the terminal and from INFO on.
    MMLogger.get_instance("mmengine", log_level="ERROR")
    mmcv_ops.install()
    install_safe_loader()
