"""Signals that ask a process to leave: at once, later, twice. Those of data workers: engine/test_workers.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from mimeval import signals
from mimeval.signals import Stopped


def send(signum):
    os.kill(os.getpid(), signum)
    time.sleep(0.01)


@pytest.mark.parametrize("signum, raised", [(signal.SIGTERM, Stopped), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_is_an_exception_where_it_arrives(signum, raised):
    before = signal.getsignal(signum)
    with pytest.raises(raised), signals.handled():
        send(signum)
    assert signal.getsignal(signum) is before and signals.wished() == 0


def test_a_deferred_signal_waits_to_be_asked_for():
    with signals.handled():
        with signals.deferred():
            send(signal.SIGTERM)
            assert signals.wished() == signal.SIGTERM
            send(signal.SIGTERM)  # the same wish by another way
        with pytest.raises(Stopped) as stopped, signals.at_once():
            pytest.fail("nothing begins any more")
        assert (stopped.value.code, stopped.value.name) == (143, "SIGTERM")


def test_only_the_outermost_puts_the_handlers_back():
    with signals.handled():
        ours = signal.getsignal(signal.SIGTERM)
        with signals.handled():
            pass
        assert signal.getsignal(signal.SIGTERM) is ours
    assert signal.getsignal(signal.SIGTERM) is not ours


def script(body):
    code = "import multiprocessing, os, signal, time\nfrom mimeval import signals\n" + body
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


TWICE = """
signals.SAME_WISH_S = 0.0
with signals.handled(), signals.deferred():
    child = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,))
    child.start()
    print(child.pid, flush=True)
    for _ in range(2):
        os.kill(os.getpid(), signal.SIG)
        time.sleep(0.1)
    print('still here')
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_the_second_signal_ends_the_process_and_its_children(name):
    done = script(TWICE.replace("SIG)", f"{name})"))
    assert done.returncode == -getattr(signal, name) and "still here" not in done.stdout
    child = int(done.stdout)
    for _ in range(100):
        if not os.path.exists(f"/proc/{child}"):
            return
        time.sleep(0.05)
    pytest.fail("the child goes on")


def test_what_is_to_be_ignored_stays_ignored():
    done = script(
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "with signals.handled():\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(0.1)\nprint('on')"
    )
    assert (done.returncode, done.stdout) == (0, "on\n")


def test_a_worker_of_a_pool_notes_a_signal_between_jobs_and_begins_no_other():
    done = script(
        "signals.handle_in_worker()\n"
        "with signals.at_once():\n    print('first')\n"
        "for name in (signal.SIGINT, signal.SIGTERM):\n    os.kill(os.getpid(), name)\n    time.sleep(0.1)\n"
        "try:\n    with signals.at_once():\n        print('second')\n"
        "except signals.Stopped as stop:\n    print(stop.name)"
    )
    assert done.stdout.split() == ["first", "SIGTERM"]
