"""Memory of a run: its peak (of the GPU's allocator on CUDA, else the resident high-water mark), and what is freed on the CPU."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path

import torch

_PROC = Path("/proc/self")
# Parameters of mallopt(3). Blocks up to BLOCK bytes come from the heap, of which nothing is given back (-1).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
BLOCK, NEVER = 1 << 30, -1


def keep_freed_memory() -> bool:
    """Let glibc keep large blocks that are freed, where a training runs on the CPU; returns whether it does.

    It gives blocks of 32 MB and more back to the system at once, and every step would have to ask for its activations again, page by page: a
    tenth to a fifth of a step's time (docs/results.md). Whoever has set malloc's variables is left alone.
    """
    if torch.cuda.is_available() or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's alone
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, BLOCK) and mallopt(M_TRIM_THRESHOLD, NEVER))


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
