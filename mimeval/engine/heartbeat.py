"""A run of many processes ends when one of them is lost, and says which.

Without it, a run whose process 5 of 64 has died is 63 processes that wait. Each notes its iteration and phase (liveness.py). When
the one that all others wait for has not moved for longer than the timeout, or when a collective fails, the others name it and leave
with exit code 1. A process that ends with an error leaves its sentence for the others.
"""

from __future__ import annotations

import atexit
import datetime
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from mimeval import signals
from mimeval.engine.liveness import Heartbeat
from mimeval.errors import UserError

_COMMUNICATION = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe|socket", re.IGNORECASE)
_current: Heartbeat | None = None


def start(timeout_s: float) -> None:
    """Begin to watch over the process group that this process has just joined."""
    global _current
    tcp = dist.TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=False,
        timeout=datetime.timedelta(seconds=30),
        wait_for_workers=False,
    )
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = dist.PrefixStore(f"mimeval/{attempt}", tcp)
    _current = Heartbeat(store, dist.get_rank(), dist.get_world_size(), timeout_s)
    _current.start()
    atexit.register(rest)


def stop() -> None:
    """This process has finished."""
    global _current
    if _current is not None:
        _current.stop()
        _current = None


def rest() -> None:
    """End this process's watch, whatever became of it."""
    if _current is not None:
        _current.rest()


@torch.compiler.disable
def at(phase: str, iteration: int | None = None) -> None:
    """Note the phase that this process has come to, and its iteration (from 1); nothing where it is alone."""
    if _current is not None:
        _current.at(phase, iteration)


def alive(stepped: bool = False) -> None:
    """Note that this process moves within its phase, by a batch if `stepped`."""
    if _current is not None:
        _current.alive(stepped)


# What the main thread does between two of mmengine's hooks.
_BEFORE_HOOK = {
    "before_train_epoch": "data",
    "before_train_iter": "forward",
    "after_train_iter": "done",
    "before_val_epoch": "validation",
    "before_test_epoch": "test",
}


def before_hook(name: str, iteration: int) -> None:
    """A run is about to call its hooks; `iteration` is the number of steps done."""
    if name in _BEFORE_HOOK:
        at(_BEFORE_HOOK[name], iteration + 1 if name.endswith("train_iter") else iteration)
    else:
        alive(stepped=name in ("after_val_iter", "after_test_iter"))


def after_hook(name: str, iteration: int) -> None:
    """A run has called its hooks."""
    if name == "after_train_iter":
        at("data", iteration + 2)


@contextmanager
def watched() -> Iterator[None]:
    """Around a verb: a collective that fails because a process is gone becomes the sentence that names it; this process ends.

    A process whose UserError is also the first one's leaves without a word, with exit code 2.
    """
    try:
        yield
    except signals.Stopped as stop:
        # torchrun asks the others to leave as soon as one has died. With words, all have agreed to leave.
        if _current is not None and not stop.words:
            _name_the_lost(_current, wait_s=1.0)
        raise
    except Exception as error:
        if _current is not None:
            if is_communication(error):  # an error in building a run, too, where that is its cause
                _name_the_lost(_current, wait_s=max(6.0, 4 * _current.interval_s))
            words = " ".join(str(error).split())
            _current.announce(words)
            if isinstance(error, UserError) and _current.said_by_first(words, wait_s=2.0):
                raise SystemExit(2) from error
        raise


def _name_the_lost(beat: Heartbeat, wait_s: float) -> None:
    """End this process with the sentence about a lost one; return if none is found to be lost."""
    with signals.deferred():  # torchrun's signal must not take the word away
        words = beat.lost(wait_s)
    if words:
        beat.leave(words)


def is_communication(error: BaseException | None) -> bool:
    """Whether an exception, or one that led to it, is about the connection to another process."""
    while error is not None:
        if isinstance(error, dist.DistError | ConnectionError | BrokenPipeError):
            return True
        if isinstance(error, RuntimeError) and _COMMUNICATION.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False
