"""A suite run by two processes: the records of one process for k-NN and cached features, one set of files, one voice."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from mimeval.cli.main import main
from mimeval.transfer import results

ROOT = Path(__file__).resolve().parents[2]
TASKS = ("knn", "linear", "finetune")
SHORT = [
    "knn.protocol.k=5",
    "linear.train_cfg.max_epochs=3",
    "linear.train_dataloader.batch_size=20",
    "finetune.train_cfg.max_epochs=1",
    "finetune.param_scheduler.0.warmup=0",
    # Batches that two processes cannot share evenly: 40 and 30 images in 6 and 5 batches.
    *(f"{task}.train_dataloader.batch_size=7" for task in ("knn",)),
    *(f"{task}.val_dataloader.batch_size=7" for task in TASKS),
]


def command(checkpoint, data, out, batch, more=()):
    options = [*SHORT, f"finetune.train_dataloader.batch_size={batch}", *more]
    names = ["--tasks", ",".join(TASKS), "--no-random", "--data", str(data), "--out", str(out)]
    return [str(checkpoint), *names, "--cfg-options", *options]


def shared(arguments):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["tools/dist_transfer.sh", "2", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )


def test_two_processes_give_the_records_of_one(tmp_path, data, checkpoint):
    done = shared(command(checkpoint, data, tmp_path / "two", 4))
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.count("records: ") == 1 and done.stderr.count("[1/3] knn tiny: features of imagenet/train 1/6") == 1
    )
    assert main(["transfer", *command(checkpoint, data, tmp_path / "one", 8)]) == 0

    one, two = ({record.task: record for record in results.read(tmp_path / name)} for name in ("one", "two"))
    assert tuple(two) == TASKS
    for task in ("knn", "linear"):
        assert two[task].metrics == one[task].metrics and two[task].images_seen == one[task].images_seen
        assert two[task].key == one[task].key
    assert two["finetune"].images_seen == one["finetune"].images_seen == 40
    assert two["finetune"].value == pytest.approx(one["finetune"].value, abs=100 / 30 + 1e-6)
    assert two["finetune"].hardware["processes"] == 2

    curves = {}
    for name, records in (("one", one), ("two", two)):
        for task, record in records.items():
            pictures = sorted((tmp_path / name / record.artifacts / "predictions").glob("*.png"))
            assert len(pictures) == 4
            if task != "finetune":
                curves.setdefault(task, []).append([path.read_bytes() for path in pictures])
        (curve,) = (tmp_path / name / records["linear"].artifacts).glob("**/scalars.json")
        curves.setdefault("loss", []).append([json.loads(line)["loss"] for line in curve.read_text().splitlines()])
    assert all(first == second for first, second in curves.values())
    assert not list((tmp_path / "two").rglob("*.pth"))

    again = shared([*command(checkpoint, data, tmp_path / "two", 4), "--resume"])
    assert again.returncode == 0 and len(results.read(tmp_path / "two")) == 3
    assert again.stdout == done.stdout


def test_what_is_wrong_is_said_once_and_leaves_nothing(tmp_path, data, checkpoint):
    done = shared(command(checkpoint, data, tmp_path / "out", 4, ["knn.protocol.k=41"]))
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if line.startswith("mimeval: ")]
    assert len(said) == 1 and "k must be 1 to 40" in said[0]
    assert not (tmp_path / "out").exists()


def test_a_launcher_and_jobs_do_not_go_together(tmp_path, capsys):
    assert main(["transfer", "--out", str(tmp_path / "out"), "--launcher", "pytorch", "--jobs", "2"]) == 2
    assert "--jobs 2 --launcher pytorch: expected one of them" in capsys.readouterr().err
