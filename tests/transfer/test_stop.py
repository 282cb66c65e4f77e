"""`mimeval transfer` that is asked to leave: what was trained is saved, and a resumed suite ends with the same figures."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time

import pytest
import torch

from mimeval.cli.main import main
from mimeval.transfer import results

# 40 images in batches of four, three epochs: 30 iterations, each of them logged.
OPTIONS = [
    "finetune.train_dataloader.batch_size=4",
    "finetune.train_cfg.max_epochs=3",
    "finetune.train_cfg.val_interval=3",
    "finetune.param_scheduler.0.warmup=1",
    "finetune.default_hooks.logger.interval=1",
    "+finetune.model.backbone.drop_path_rate=0.3",
]


@pytest.fixture
def begin(data, tmp_path):
    """Starts `mimeval transfer` of fine-tuning with two seeds in a forked process, its stderr in a file."""

    def start(out, *more):
        flags = ["--data", str(data), "--tasks", "finetune", "--seed", "0", "1", "--out", str(tmp_path / out), *more]

        def work():
            torch.set_num_threads(1)
            os.dup2(os.open(tmp_path / f"{out}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            sys.stderr = os.fdopen(2, "w", buffering=1)
            sys.exit(main(["transfer", *flags, "--cfg-options", *OPTIONS]))

        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        return process

    return start


def code(process):
    process.join(120)
    return process.exitcode


def wait_for_steps(folders):
    end = time.monotonic() + 90
    while time.monotonic() < end:
        if all(any("[3]" not in (text := log.read_text()) and "][4/10]" in text for log in f.glob("**/*.log")) for f in folders):
            return
        time.sleep(0.01)
    pytest.fail("the training never began")


@pytest.mark.parametrize("jobs, signum", [(1, signal.SIGTERM), (2, signal.SIGTERM)])
def test_a_suite_that_leaves_goes_on_with_what_was_trained(begin, tmp_path, jobs, signum):
    whole = begin("whole", "--jobs", str(jobs))
    parts = begin("parts", "--jobs", str(jobs))
    folders = [tmp_path / "parts" / "random" / name for name in ("finetune", "finetune-seed1")][:jobs]
    wait_for_steps(folders)
    os.kill(parts.pid, signum)
    assert code(parts) == 128 + signum
    said = (tmp_path / "parts.txt").read_text()
    assert "mimeval: stopped by SIGTERM; finished tasks are kept" in said and "--resume" in said.splitlines()[-1]
    assert results.read(tmp_path / "parts") == []
    for folder in folders:
        (file,) = folder.glob("iter_*.pth")
        assert f"is saved in {file}" in said and 4 <= int(file.stem[5:]) < 30
    assert code(begin("parts", "--jobs", str(jobs), "--resume")) == 0 and code(whole) == 0
    one, two = ({record.seed: record for record in results.read(tmp_path / name)} for name in ("whole", "parts"))
    assert one.keys() == two.keys() == {0, 1}
    for seed, record in one.items():
        assert two[seed].metrics == record.metrics and two[seed].images_seen == record.images_seen == 120
    assert not list((tmp_path / "parts").rglob("*.pth"))
