"""All cores over millions of small tasks: few at a time in memory, a worker's death survived, Ctrl-C obeyed."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from mimeval.datasets.check.files import Finding, Result, Task, examine

CHUNK = 32
_AHEAD = 4  # chunks per process that wait or run; more would only hold their tasks and results in memory


def spread(tasks: Iterable[Task], jobs: int) -> Iterator[Result]:
    """`examine` of every task by `jobs` processes, as they are finished. A task that kills its process is a finding."""
    source = iter(tasks)
    others = multiprocessing.active_children()
    pool = _pool(jobs)
    waiting: dict[Future, list[Task]] = {}
    try:
        while True:
            while len(waiting) < _AHEAD * jobs and (chunk := list(itertools.islice(source, CHUNK))):
                waiting[_submitted(pool, chunk)] = chunk
            if not waiting:
                return
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            try:
                for future in done:
                    results = future.result()
                    del waiting[future]
                    yield from results
            except BrokenProcessPool:
                # All chunks on their way are lost; the guilty one is among them.
                suspects = list(waiting.values())
                waiting.clear()
                pool.shutdown(wait=False)
                for chunk in suspects:
                    yield from _alone(chunk)
                pool = _pool(jobs)
    except BaseException:
        # Not let finish: one may hang in a read from a server that is gone.
        for worker in set(multiprocessing.active_children()) - set(others):
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _submitted(pool: ProcessPoolExecutor, chunk: list[Task]) -> Future:
    try:
        return pool.submit(_examined, chunk)
    except BrokenProcessPool as error:  # a worker has died since the last look
        future: Future = Future()
        future.set_exception(error)
        return future


def _alone(tasks: list[Task]) -> list[Result]:
    """The results of tasks in a process of their own, halved until the one is found that kills it."""
    with _pool(1) as pool:
        try:
            return pool.submit(_examined, tasks).result()
        except BrokenProcessPool:
            pass
    if len(tasks) > 1:
        middle = len(tasks) // 2
        return _alone(tasks[:middle]) + _alone(tasks[middle:])
    found = Finding("unreadable", tasks[0].file, "the process that decoded it was killed (memory?) or crashed")
    return [Result(tasks[0].place, None, [found])]


def _pool(jobs: int) -> ProcessPoolExecutor:
    # A fork has all modules already; elsewhere it is not safe.
    context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    return ProcessPoolExecutor(jobs, context, initializer=_begin_worker, initargs=(os.getpid(),))


def _begin_worker(parent: int) -> None:
    # Ctrl-C reaches every process of a terminal, and the parent alone ends the work; what it sends ends a worker at once,
    # though a fork has its parent's handlers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


def _examined(tasks: list[Task]) -> list[Result]:
    return [examine(task) for task in tasks]
