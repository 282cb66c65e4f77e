"""Damaged images in a transfer: every task goes on, its record counts them, the report says so; --strict-data stops."""

import json
import shutil
from pathlib import Path

import pytest

from mimeval.cli.main import main
from mimeval.datasets.damaged import damaged_files
from mimeval.transfer import results
from tests.datasets.planted import cut
from tests.transfer.test_suite import SHORT

IMAGES = ("train_000001.png", "train_000002.png", "val_000005.png")


@pytest.fixture(scope="module")
def broken(data, tmp_path_factory) -> Path:
    """A copy of the demo set in which two training images and one validation image of each layout are cut short."""
    copy = tmp_path_factory.mktemp("broken") / "demo"
    shutil.copytree(data, copy)
    found = [file for name in IMAGES for file in copy.rglob(name) if "annotations" not in file.parts]
    assert len(found) == 9
    for file in found:
        content = file.read_bytes()
        file.unlink()  # layouts share their images by hard links
        file.write_bytes(content)
        cut(file, 0.9)
    return copy


def command(broken, out, *options):
    tasks = [*SHORT, *(f"{task}.train_dataloader.batch_size=40" for task in ("detection", "segmentation"))]
    return ["transfer", "--data", str(broken), "--out", str(out), *options, "--cfg-options", *tasks]


def test_every_task_goes_on_and_counts(broken, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(command(broken, out)) == 0
    err = capsys.readouterr().err
    records = {record.task: record for record in results.read(out)}
    assert set(records) == set(results.TASKS)
    for task, record in records.items():
        assert record.damaged == 3, task
        named = damaged_files(out / record.artifacts)
        assert sorted(Path(file).name for file in named) == sorted(IMAGES), task
        assert f"{task} random: 2 damaged images were replaced" in err, task
        assert err.count("1 damaged image was evaluated as black or without labels") == 5
    assert records["knn"].images_seen == 40  # the bank keeps its size
    assert main(["report", str(out)]) == 0
    text = next(out.rglob("*.md")).read_text()
    assert "Damaged images were met, replaced by the next one in training" in text and "k-NN, random: 3" in text


def test_strict_data_stop_at_the_first(broken, tmp_path, capsys):
    for task in results.TASKS:
        out = tmp_path / task
        assert main(command(broken, out, "--strict-data", "--tasks", task)) == 2, task
        last = capsys.readouterr().err.splitlines()[-1]
        assert any(name in last for name in IMAGES) and "as --strict-data asks" in last, task
        assert not out.exists()


def test_strictness_is_no_setting_of_the_protocol(data, tmp_path):
    hashes = []
    for flags in ([], ["--strict-data"]):
        out = tmp_path / f"out{len(flags)}"
        options = ["--tasks", "knn", "--cfg-options", "knn.protocol.k=5"]
        assert main(["transfer", "--data", str(data), "--out", str(out), *flags, *options]) == 0
        (record,) = results.read(out)
        hashes.append(record.config_hash)
        assert record.damaged == 0
    assert hashes[0] == hashes[1]


def test_records_from_before_are_read(tmp_path, data):
    out = tmp_path / "out"
    options = ["--tasks", "knn", "--cfg-options", "knn.protocol.k=5"]
    assert main(["transfer", "--data", str(data), "--out", str(out), *options]) == 0
    file = out / results.RESULTS
    content = json.loads(file.read_text())
    del content["damaged"]
    file.write_text(json.dumps(content) + "\n")
    (record,) = results.read(out)
    assert record.damaged == 0
    assert main(["report", str(out)]) == 0
