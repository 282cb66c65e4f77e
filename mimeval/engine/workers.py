"""Data workers that only their parent ends."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch.utils.data import DataLoader

from mimeval.signals import held_back, stay_with_parent


def guard_workers(loader: DataLoader) -> None:
    """Let a loader's workers leave signals to their parent from their start on; what it did at their beginning it still does."""
    loader.worker_init_fn = functools.partial(_begin, loader.worker_init_fn)
    loader.__class__ = _Loader


class _Loader(DataLoader):
    # Until worker_init_fn is called, torch's own handler ends a worker at a SIGTERM that is not its parent's, and the run with it.
    def __iter__(self) -> Any:
        with held_back():
            return super().__iter__()


def _begin(begin: Callable[[int], None] | None, worker_id: int) -> None:
    stay_with_parent()
    if begin is not None:
        begin(worker_id)
