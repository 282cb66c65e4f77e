"""Data workers leave signals to their parent."""

import os
import signal
import subprocess
import time

import pytest
from torch.utils.data import DataLoader

from mimeval.engine.workers import guard_workers


class Slow:
    def __len__(self):
        return 40

    def __getitem__(self, index):
        time.sleep(0.02)
        return index


def say(worker_id):
    os.environ["BEGUN"] = str(worker_id)


@pytest.fixture
def loader():
    made = DataLoader(Slow(), batch_size=2, num_workers=2, worker_init_fn=say)
    guard_workers(made)
    return made


def begin(loader):
    """The batches, with one seen of each worker: both have begun."""
    batches = iter(loader)
    return batches, next(batches).tolist() + next(batches).tolist()


def test_only_the_parent_ends_them(loader):
    batches, seen = begin(loader)
    for worker in batches._workers:
        # From another process, as a launcher sends them to all processes of a job.
        for name in ("TERM", "INT"):
            subprocess.run(["kill", f"-{name}", str(worker.pid)], check=True)
    for batch in batches:
        seen += batch.tolist()
    assert seen == list(range(40))
    batches, _ = begin(loader)
    batches._workers[0].terminate()  # as Python does when the parent ends
    batches._workers[0].join(5)
    assert not batches._workers[0].is_alive()
    with pytest.raises(RuntimeError, match="exited unexpectedly|killed by signal"):
        list(batches)


def test_a_signal_before_they_have_begun_is_no_other(loader):
    # Sent by a process that is there already: between their start and their beginning are some milliseconds.
    sender = subprocess.Popen(["sh", "-c", "read pids && kill -TERM $pids"], stdin=subprocess.PIPE, text=True)
    batches = iter(loader)
    sender.communicate(" ".join(str(worker.pid) for worker in batches._workers) + "\n")
    assert [index for batch in batches for index in batch.tolist()] == list(range(40))


def test_the_parent_takes_it_again(loader):
    begin(loader)
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_what_the_loader_did_at_their_beginning_is_done():
    made = DataLoader(Told(), batch_size=1, num_workers=1, worker_init_fn=say)
    guard_workers(made)
    assert [batch.item() for batch in made] == [0]


class Told:
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return int(os.environ["BEGUN"])
