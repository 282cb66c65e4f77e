"""One of two processes dies or stands still: the other one ends soon, with a sentence that names it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mimeval.datasets.demo import DemoSpec, generate
from tests.engine.steps import SHRUNK

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("data") / "demo", DemoSpec(train=40, val=30, seed=1))


@pytest.fixture
def run(data, tmp_path):
    """A long training by two processes under torchrun, some steps after its beginning."""
    config, *options = SHRUNK["emae"]
    options += [
        "train_cfg.max_epochs=100000",
        "default_hooks.checkpoint.interval=100000",
        "+default_hooks.logger.interval=1",
    ]
    options += [f"+env_cfg.dist_cfg.timeout={TIMEOUT_S}", "train_dataloader.batch_size=10"]
    command = ["tools/dist_train.sh", config, "2", "--data", str(data), "--work-dir", str(tmp_path / "run")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with open(tmp_path / "err", "w") as stderr:
        process = subprocess.Popen([*command, "--cfg-options", *options], cwd=ROOT, env=environment, stderr=stderr)
    try:
        steps_done(process, tmp_path / "run")
        yield process
    finally:
        for pid in [*ranks(tmp_path).values()]:
            os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()


def steps_done(process, folder):
    end = time.monotonic() + 120
    while sum(file.read_text().count("\n") for file in folder.glob("*/vis_data/scalars.json")) < 20:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.1)


def ranks(folder):
    """Process ids of the run's ranks."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_text().split("\0")
            environment = (entry / "environ").read_text().split("\0")
        except (OSError, ValueError):
            continue
        number = [part.removeprefix("RANK=") for part in environment if part.startswith("RANK=")]
        if number and str(folder / "run") in command:
            found[int(number[0])] = int(entry.name)
    return found


def sentence(folder, ends_within_s, process):
    """The line about the lost rank, which has to come soon."""
    end = time.monotonic() + ends_within_s
    while time.monotonic() < end:
        found = [line for line in (folder / "err").read_text().splitlines() if "mimeval: rank " in line]
        if found:
            return found[0]
        time.sleep(0.1)
    raise AssertionError((folder / "err").read_text())


def gone_within(pid, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_killed_is_named_at_once(run, victim, tmp_path):
    pids = ranks(tmp_path)
    assert sorted(pids) == [0, 1]
    os.kill(pids[victim], signal.SIGKILL)
    words = sentence(tmp_path, TIMEOUT_S, run)
    print(words)
    assert re.search(
        rf"rank {victim} of 2 died: rank {victim} \(.*, process {pids[victim]}\) last heard \d+ s ago", words
    )
    assert re.search(r"iteration \d+, phase (data|forward|backward|done)", words) and "--resume" in words
    assert run.wait(timeout=20) != 0
    said = (tmp_path / "err").read_text()
    assert f"mimeval: rank {victim} (process {pids[victim]}" in said and "killed by SIGKILL" in said
    assert "Traceback" not in said


def test_a_process_that_stands_still_is_named_after_the_timeout(run, tmp_path):
    pids = ranks(tmp_path)
    os.kill(pids[1], signal.SIGSTOP)
    start = time.monotonic()
    assert gone_within(pids[0], TIMEOUT_S + 10)
    took = time.monotonic() - start
    words = sentence(tmp_path, 1, run)
    print(f"{took:.1f} s", words)
    assert took > TIMEOUT_S - 2  # notes are half a second apart
    assert re.search(r"rank 1 of 2 no longer answers: rank 1 \(.*\) last heard \d+ s ago, \d+ s in iteration", words)
    assert "this is rank 0" in words and "--resume" in words
    os.kill(pids[1], signal.SIGKILL)  # torchrun itself would wait for half a minute
    assert run.wait(timeout=20) != 0
