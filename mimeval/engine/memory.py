"""Peak memory of a run: the GPU's allocator on CUDA, else the resident high-water mark of the process."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

_PROC = Path("/proc/self")


def reset_peak() -> bool:
    """Start measuring anew; False where the system has no reset, so that the peak is the whole process's."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return True
    try:
        # Linux: 5 resets VmHWM to the present resident size (proc(5)); containers may forbid it.
        (_PROC / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_bytes() -> int:
    """Highest use since ``reset_peak``, in bytes: ``max_memory_allocated`` of the current GPU, else resident memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    try:
        status = (_PROC / "status").read_text()
    except OSError:
        status = ""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    # ru_maxrss cannot be reset; its unit is kilobytes, on macOS bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
