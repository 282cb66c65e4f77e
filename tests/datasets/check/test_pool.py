"""All tasks are done whatever happens to the processes, and not many wait at a time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from mimeval import signals
from mimeval.datasets.check import pool
from mimeval.datasets.check.files import Result, Task

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the replaced function reaches workers by forking")


def tasks(count, drawn=None):
    for place in range(count):
        if drawn is not None:
            drawn.append(place)
        yield Task(place, f"{place}.jpg")


@pytest.fixture
def examine(monkeypatch):
    """Sets what workers do with a task."""
    return lambda function: monkeypatch.setattr(pool, "examine", function)


def test_every_task_is_done_once(examine):
    examine(lambda task: Result(task.place, os.getpid(), []))
    results = list(pool.spread(tasks(1000), 3))
    assert sorted(result.place for result in results) == list(range(1000))
    assert len({result.digest for result in results}) > 1 and os.getpid() not in {result.digest for result in results}


def test_tasks_are_drawn_as_they_are_needed(examine):
    examine(lambda task: Result(task.place, None, []))
    drawn = []
    results = pool.spread(tasks(100_000, drawn), 2)
    for _ in range(10):
        next(results)
    assert len(drawn) < 2000
    results.close()
    assert not multiprocessing.active_children()


def test_a_task_that_kills_its_process_is_named_and_the_others_are_done(examine):
    def deadly(task):
        if task.place in (40, 41, 700):
            os.kill(os.getpid(), 9)
        return Result(task.place, task.place, [])

    examine(deadly)
    results = {result.place: result for result in pool.spread(tasks(1000), 2)}
    assert sorted(results) == list(range(1000))
    killed = [place for place, result in results.items() if result.findings]
    assert sorted(killed) == [40, 41, 700]
    assert results[40].findings[0].file == "40.jpg" and "killed" in results[40].findings[0].detail


def test_no_tasks():
    assert list(pool.spread([], 2)) == []


def pid_later(task):
    time.sleep(0.02)
    return Result(task.place, os.getpid(), [])


def alive(pid):
    """Whether a process is there and no corpse."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_stays_behind(signum, examine):
    examine(pid_later)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()

    def work():
        with signals.handled():  # as the command line: the workers are forks of a process with its own handlers
            for result in pool.spread(tasks(100_000), 2):
                queue.put(result.digest)

    parent = context.Process(target=work)
    parent.start()
    workers = {queue.get(timeout=30) for _ in range(64)}
    assert all(map(alive, workers))
    os.kill(parent.pid, signum)
    begun = time.monotonic()
    while any(map(alive, {*workers, parent.pid})) and time.monotonic() - begun < 10:
        queue.empty() or queue.get()
        time.sleep(0.01)
    assert not any(map(alive, {*workers, parent.pid}))
    assert time.monotonic() - begun < 5
    parent.join()
