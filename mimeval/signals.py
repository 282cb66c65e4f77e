"""Being asked to leave: SIGTERM (Slurm's time limit, torchrun, docker stop) and SIGINT (Ctrl-C). Imports nothing heavy."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

CAUGHT = (signal.SIGTERM, signal.SIGINT)
# One wish can arrive twice: a terminal sends Ctrl-C to all its processes, and torchrun passes its own on; Slurm likewise.
SAME_WISH_S = 2.0


class Stopped(BaseException):
    """A run leaves because a signal asked it to. No error, so that nothing takes it for one.

    Args:
        signum: the signal. words: what was kept and how to go on; empty if nothing can be said.
    """

    def __init__(self, signum: int, words: str = "") -> None:
        super().__init__(signum, words)
        self.signum = signum
        self.words = words

    @property
    def name(self) -> str:
        """SIGTERM or SIGINT."""
        return signal.Signals(self.signum).name

    @property
    def code(self) -> int:
        """The exit code that a shell would give a process that died of the signal: 143 or 130."""
        return 128 + self.signum


class _State:
    wish = 0  # the signal that came
    since = 0.0
    deferring = 0


_state = _State()


def wished() -> int:
    """The signal that asked this process to leave, 0 if none did."""
    return _state.wish


@contextmanager
def handled() -> Iterator[None]:
    """Inside, SIGTERM raises Stopped and SIGINT KeyboardInterrupt where they arrive; the second one ends the process at once.

    Only the outermost use does something, and only in the main thread, where Python takes signals.
    """
    before = _install()
    try:
        yield
    finally:
        if before:
            _state.wish = 0
        for signum, handler in before.items():
            signal.signal(signum, handler or signal.SIG_DFL)


def handle_in_worker() -> None:
    """For the rest of a pool's process: as `handled`, but between two jobs a signal is only noted (see `at_once`).

    Ctrl-C, which reaches every process of a terminal, is left to the parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _install()
    _state.deferring = 1


def _install() -> dict[int, Any]:
    """The handlers that ours took the place of; none if they are in place already."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is _handle:
        return {}
    _state.wish = _state.deferring = 0
    # What the process was started to ignore (nohup) stays ignored.
    return {s: signal.signal(s, _handle) for s in CAUGHT if signal.getsignal(s) != signal.SIG_IGN}


@contextmanager
def deferred() -> Iterator[None]:
    """Inside, the first signal is only noted: what runs here asks `wished()` and leaves at a good moment."""
    with _deferring(1):
        yield


@contextmanager
def at_once() -> Iterator[None]:
    """Inside, a signal raises again where it arrives; one that was noted before raises Stopped on entering."""
    if _state.wish:
        raise Stopped(_state.wish)
    with _deferring(0):
        yield


@contextmanager
def _deferring(value: int) -> Iterator[None]:
    before, _state.deferring = _state.deferring, value
    try:
        yield
    finally:
        _state.deferring = before


def _handle(signum: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if _state.wish and now - _state.since < SAME_WISH_S:
        return
    if _state.wish:
        processes = sys.modules.get("multiprocessing")
        for child in processes.active_children() if processes else ():
            child.kill()
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
    _state.wish, _state.since = signum, now
    if not _state.deferring:
        raise KeyboardInterrupt if signum == signal.SIGINT else Stopped(signum)


@contextmanager
def held_back() -> Iterator[None]:
    """Inside, SIGTERM waits, and processes that are started begin with it blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stay_with_parent(worker_id: int = 0) -> None:
    """What a data worker does about signals: only its parent ends it, for without it the parent could not finish its step.

    One that comes before this is called waits, where the worker was started in `held_back`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        # Blocked, so that it waits for the thread below, which sees who sent it; a handler would not.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
