"""What a process says about those that it waits for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import pytest
import torch.distributed as dist

from mimeval.engine import heartbeat
from mimeval.engine.heartbeat import is_communication
from mimeval.engine.liveness import FIRST_STEP_S, Heartbeat
from mimeval.errors import UserError
from tests.engine.test_torchrun import free_port


@pytest.fixture
def group():
    """Notes of three processes with one store; no thread watches."""
    store = dist.HashStore()
    beats = [Heartbeat(store, rank, 3, timeout_s=10.0) for rank in range(3)]
    for beat in beats:
        beat.at("backward", iteration=7)
        beat._publish()
    for beat in beats:
        beat._read()
    return beats


def later(beats, seconds):
    """As if nobody had moved for so long, though all still answer."""
    for beat in beats:
        beat.since -= seconds
        beat._publish()
    for beat in beats:
        beat._read()


def test_the_one_behind_is_named_with_its_place(group):
    for beat in (group[0], group[2]):
        beat.at("done", iteration=7)
        beat.at("data", iteration=8)
    later(group, 25)
    assert group[0]._stuck_s(time.monotonic()) == pytest.approx(25, abs=1)
    words = group[0].explain()
    assert "rank 1 of 3 does not go on: rank 1 (" in words and "25 s in iteration 7, phase backward" in words
    assert "this is rank 0, in iteration 8, phase data" in words and "--resume" in words
    assert group[1].explain().startswith("rank 1 (this one) has held up the others for 25 s in iteration 7")


def test_one_that_works_is_waited_for(group):
    for beat in (group[0], group[2]):
        beat.at("waiting")
    later(group, 25)
    group[1].alive()
    later(group, 0)
    assert group[0]._stuck_s(time.monotonic()) < 1
    group[1].since -= 5000
    group[1].at("finished")
    group[1].since -= 5000
    later(group, 0)
    # Those that are left wait for each other.
    assert group[0]._stuck_s(time.monotonic()) == pytest.approx(25, abs=1)
    assert group[0].explain().startswith("no rank has gone on for 25 s, all in iteration 7, phase waiting")


def test_a_silent_one_is_told_from_a_slow_one(group):
    for beat in group:
        beat.since -= 25
    group[0]._publish()
    group[2]._publish()
    group[0]._read()
    group[0].heard[1].at -= 25
    assert "rank 1 of 3 no longer answers: rank 1 (" in group[0].explain()
    assert "last heard 25 s ago" in group[0].explain()


def test_a_dead_process_of_this_machine_is_known_at_once(group):
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    group[2].who["pid"] = gone.pid
    group[2]._publish()
    group[0]._read()
    assert group[0]._dead() == [2]
    assert f"rank 2 of 3 died: rank 2 ({group[2].who['host']}, process {gone.pid})" in group[0].explain()
    group[2].who["host"] = "another"  # its processes are not in this machine's table
    group[2]._publish()
    assert group[0]._dead() == []
    group[2].who["host"] = group[0].who["host"]
    group[2].stop()
    assert group[0]._dead() == [], "it has finished"


def test_an_error_is_passed_on(group):
    group[1].announce("CUDA out of memory")
    group[2].announce("a later one")
    assert group[0].lost(wait_s=0).startswith("rank 1 ended with: CUDA out of memory (this is rank 0")
    assert group[0].lost(wait_s=0) == group[2].lost(wait_s=0).replace("rank 2", "rank 0")
    group[0].announce("CUDA out of memory")
    assert group[1].said_by_first("CUDA out of memory", wait_s=1) and not group[1].said_by_first("other", wait_s=1)
    assert not group[0].said_by_first("CUDA out of memory", wait_s=0)


def test_nobody_is_lost_while_all_answer(group):
    assert group[0].lost(wait_s=0.2) is None


def test_a_store_that_is_gone_is_the_first_process(group, monkeypatch):
    def fail(*_):
        raise dist.DistNetworkError("connection reset")

    monkeypatch.setattr(group[2], "store", type("Gone", (), dict(check=fail, multi_get=fail, set=fail, get=fail))())
    group[2]._publish()
    assert "rank 0 of 3 no longer answers at" in group[2].explain()


def test_the_first_step_may_take_longer(group):
    assert group[0]._limit_s() == FIRST_STEP_S
    group[0].at("done", iteration=1)
    group[1].alive(stepped=True)
    assert group[0]._limit_s() == group[1]._limit_s() == 10.0


def test_hooks_say_where_a_run_is(monkeypatch):
    beat = Heartbeat(dist.HashStore(), 0, 1, 10.0)
    monkeypatch.setattr(heartbeat, "_current", beat)
    places = []
    for name in ("before_train_epoch", "before_train_iter", "after_train_iter", "before_val_epoch", "after_val_iter"):
        heartbeat.before_hook(name, 4)
        places.append((beat.phase, beat.iteration, beat.steps))
        heartbeat.after_hook(name, 4)
    assert places == [("data", 4, 1), ("forward", 5, 2), ("done", 5, 3), ("validation", 4, 5), ("validation", 4, 5)]


def test_errors_about_connections_are_known():
    gloo = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1")
    assert is_communication(gloo) and is_communication(dist.DistBackendError("x"))
    assert not is_communication(RuntimeError("shape mismatch")) and not is_communication(UserError("k"))
    try:
        raise UserError("config: it cannot be run") from gloo
    except UserError as error:
        assert is_communication(error)


def test_it_is_nothing_to_a_process_alone():
    with heartbeat.watched():
        heartbeat.at("data", 1)
        heartbeat.alive()
        heartbeat.stop()
    with pytest.raises(ValueError), heartbeat.watched():
        raise ValueError


FAILING = """
import traceback, torch, torch.distributed as dist
from mimeval.engine.heartbeat import watched
from mimeval.engine.launch import end_process, init_distributed
init_distributed("pytorch")
try:
    with watched():
        if dist.get_rank() == 1:
            raise RuntimeError("out of memory")
        dist.all_reduce(torch.ones(1))
except RuntimeError:
    traceback.print_exc()
    end_process(1)
"""


SLOW = """
import time, torch, torch.distributed as dist
from mimeval.engine import heartbeat
from mimeval.engine.launch import init_distributed
init_distributed("pytorch", 2.0)
with heartbeat.watched():
    heartbeat.at("done", 4)
    heartbeat.at("data", 5)
    if dist.get_rank() == 1:
        time.sleep(1000)
    heartbeat.at("backward", 5)
    dist.all_reduce(torch.ones(1))
"""


KILLED = """
import os, time, torch, torch.distributed as dist
from mimeval.engine import heartbeat
from mimeval.engine.launch import init_distributed
init_distributed("pytorch", 2.0)
with heartbeat.watched():
    time.sleep(1)
    if dist.get_rank() == 0:
        os.kill(os.getpid(), 9)
    dist.all_reduce(torch.ones(1))
"""


def two(code, codes=(1, 1)):
    """What two processes said that nobody else watches over; the first one has the store, as under slurm."""
    environment = os.environ | dict(
        WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=free_port(), OMP_NUM_THREADS="1"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment | dict(RANK=str(rank), LOCAL_RANK=str(rank)),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=100)[1] for process in processes]
    assert tuple(process.returncode for process in processes) == codes
    return said


def test_an_error_of_one_process_ends_the_other():
    first, second = two(FAILING)
    assert "RuntimeError: out of memory" in second and "Traceback" not in first
    assert "mimeval: rank 1 ended with: out of memory (this is rank 0, in iteration 0, phase start)" in first


def test_the_first_process_takes_the_store_with_it():
    _, second = two(KILLED, codes=(-9, 1))
    assert "mimeval: rank 0 of 2 died: rank 0 (" in second and "this is rank 1" in second


def test_a_process_that_waits_for_its_data_is_named():
    first, second = two(SLOW)
    # On a busy machine its notes can come late, or it ends first, as it knows that all wait for it.
    assert re.search(r"mimeval: rank 1 of 2 (does not go on|no longer answers|died): rank 1 \(", first)
    assert "iteration 5, phase data; this is rank 0" in first
    assert "(this one) has held up the others for" in second or "rank 0 of 2" in second
