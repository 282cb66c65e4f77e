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
from mimeval.transfer.report.curves import read_runs

# 40 images in batches of four, two epochs: 20 iterations, each of them logged.
OPTIONS = [
    "finetune.train_dataloader.batch_size=4",
    "finetune.train_cfg.max_epochs=2",
    "finetune.train_cfg.val_interval=2",
    "finetune.param_scheduler.0.warmup=1",
    "finetune.default_hooks.logger.interval=1",
    "+finetune.model.backbone.drop_path_rate=0.3",
]


@pytest.fixture(scope="module")
def begin(data):
    """Starts `mimeval transfer` of fine-tuning with two seeds in a forked process, its stderr in a file beside `out`."""

    def start(out, *more):
        flags = ["--data", str(data), "--tasks", "finetune", "--seed", "0", "1", "--out", str(out), *more]

        def work():
            torch.set_num_threads(1)
            os.dup2(os.open(out.with_suffix(".txt"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            sys.stderr = os.fdopen(2, "w", buffering=1)
            sys.exit(main(["transfer", *flags, "--cfg-options", *OPTIONS]))

        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        return process

    return start


@pytest.fixture(scope="module")
def whole(begin, tmp_path_factory):
    """The folder of a suite that nobody stopped."""
    out = tmp_path_factory.mktemp("suite") / "whole"
    assert code(begin(out)) == 0
    return out


def code(process):
    process.join(120)
    return process.exitcode


def logs(folder):
    return "".join(log.read_text() for log in folder.glob("**/*.log"))


@pytest.mark.parametrize("jobs, signum", [(1, signal.SIGINT), (2, signal.SIGTERM)])
def test_a_suite_that_leaves_goes_on_with_what_was_trained(begin, whole, tmp_path, jobs, signum):
    out = tmp_path / "parts"
    parts = begin(out, "--jobs", str(jobs))
    folders = [out / "random" / name for name in ("finetune", "finetune-seed1")]
    end = time.monotonic() + 90
    while not any("[1][ 4/10]" in logs(folder) for folder in folders) and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(parts.pid, signum)
    assert code(parts) == 128 + signum
    said = (tmp_path / "parts.txt").read_text()
    assert f"mimeval: stopped by {signum.name}; finished tasks are kept" in said and "--resume" in said.splitlines()[-1]
    assert results.read(out) == []
    # Of two at a time, one may not have come as far as its first iteration.
    begun = [folder for folder in folders if "Epoch(train)" in logs(folder)]
    saved = [file for folder in begun for file in folder.glob("iter_*.pth")]
    assert len(saved) == len(begun) >= 1 and all(f"is saved in {file}" in said for file in saved)
    assert 4 <= max(int(file.stem[5:]) for file in saved) < 20
    assert code(begin(out, "--jobs", str(jobs), "--resume")) == 0
    one, two = ({record.seed: record for record in results.read(folder)} for folder in (whole, out))
    assert one.keys() == two.keys() == {0, 1}
    for seed, record in one.items():
        assert two[seed].metrics == record.metrics and two[seed].images_seen == record.images_seen == 80
        (whole_run,), (parts_run,) = (read_runs(folder / record.artifacts) for folder in (whole, out))
        assert len(whole_run.values["loss"]) == 20 and whole_run.values["loss"] == parts_run.values["loss"]
    assert not list(out.rglob("*.pth"))
