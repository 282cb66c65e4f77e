"""The five tasks for real on 40 images, one or two steps each, through the command line."""

import json
from pathlib import Path

import pytest
from mmengine.hooks import Hook
from PIL import Image

from mimeval.cli.main import main
from mimeval.registry import HOOKS
from mimeval.transfer import results

SHORT = [
    "knn.protocol.k=5",
    "linear.train_cfg.max_epochs=3",
    "linear.train_dataloader.batch_size=20",
    "finetune.train_cfg.max_epochs=1",
    "finetune.train_cfg.val_interval=1",
    "finetune.train_dataloader.batch_size=20",
    *(f"{task}.train_cfg.{key}=2" for task in ("detection", "segmentation") for key in ("max_iters", "val_interval")),
    *(f"{task}.train_dataloader.batch_size=4" for task in ("detection", "segmentation")),
    *(f"{task}.default_hooks.logger.interval=1" for task in ("finetune", "detection", "segmentation")),
    *(f"{task}.param_scheduler.0.warmup=0" for task in ("finetune", "detection", "segmentation", "linear")),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data, checkpoint):
    out = tmp_path_factory.mktemp("run") / "out"
    names = ["--init-names", "tiny", "--note", "tiny=an untrained file"]
    command = ["transfer", str(checkpoint), "--data", str(data), "--out", str(out), *names, "--cfg-options", *SHORT]
    assert main(command) == 0
    return out, command


def test_every_task_leaves_a_record_of_each_row(finished):
    records = results.read(finished[0])
    assert [(one.task, one.init) for one in records] == [
        (task, init) for task in results.TASKS for init in ("random", "tiny")
    ]
    for one in records:
        assert one.wall_s > 0 and one.peak_bytes > 1e7 and one.versions["torch"] and one.hardware["cores"]
        assert 0 <= one.value <= 100
        assert one.note == ("an untrained file" if one.init == "tiny" else "")
    images = {one.task: one.images_seen for one in records}
    assert images == {"knn": 40, "linear": 120, "finetune": 40, "detection": 8, "segmentation": 8}
    assert {one.task: one.metric for one in records}["detection"] == "box AP"
    assert all("segm_mAP" in one.metrics for one in records if one.task == "detection")


def test_records_say_what_was_read_and_loaded(finished):
    records = {(one.task, one.init): one for one in results.read(finished[0])}
    assert records["knn", "random"].checkpoint is None
    assert records["knn", "tiny"].features | {"k": 5} == records["knn", "tiny"].features
    assert (records["linear", "tiny"].features["tokens"], records["linear", "tiny"].features["norm"]) == (
        "mean",
        "norm",
    )
    assert records["finetune", "tiny"].features["norm"] == "fc_norm"
    assert records["segmentation", "tiny"].features["tokens"] == "patches"
    loaded = records["finetune", "tiny"].checkpoint
    assert loaded["family"] == "mae" and len(loaded["sha256"]) == 64
    assert sorted(loaded["fresh"]) == ["fc_norm.bias", "fc_norm.weight"]
    assert records["knn", "tiny"].checkpoint["fresh"] == {}


def test_pictures_and_curves_are_there_and_weights_are_not(finished):
    out, _ = finished
    for one in results.read(out):
        folder = out / one.artifacts
        pictures = sorted((folder / "predictions").glob("*.png"))
        assert len(pictures) == 4
        assert min(Image.open(pictures[0]).size) >= 128
        curves = list(folder.glob("**/vis_data/scalars.json"))
        assert len(curves) == (0 if one.task == "knn" else 1)
        assert all("loss" in json.loads(path.read_text().splitlines()[0]) for path in curves)
    assert not list(out.rglob("*.pth"))


def test_what_is_finished_is_never_run_again(finished, capsys):
    out, command = finished
    before = (out / results.RESULTS).read_bytes()
    assert main([*command, "--resume"]) == 0
    assert (out / results.RESULTS).read_bytes() == before
    printed = capsys.readouterr().out
    assert "Segmentation" in printed and "tiny" in printed
    assert main(command) == 2
    assert "--resume" in capsys.readouterr().err


@HOOKS.register_module()
class InterruptOnce(Hook):
    done = False

    def before_train_epoch(self, runner):
        if runner.epoch == 1 and not InterruptOnce.done:
            InterruptOnce.done = True
            raise KeyboardInterrupt


def finetune(data, out, options):
    return ["transfer", "--data", str(data), "--out", str(out), "--tasks", "finetune", "--cfg-options", *options]


def test_an_interrupted_training_goes_on_where_it_was_saved(tmp_path, data, capsys):
    options = [
        "finetune.train_cfg.max_epochs=2",
        "finetune.train_cfg.val_interval=2",
        "finetune.train_dataloader.batch_size=20",
        "finetune.default_hooks.checkpoint.interval=1",
        "finetune.custom_hooks=[{'type':'InterruptOnce'}]",
    ]
    command = finetune(data, tmp_path / "out", options)
    assert main(command) == 130
    assert "--resume" in capsys.readouterr().err
    folder = tmp_path / "out" / "random" / "finetune"
    assert Path(folder, "epoch_1.pth").is_file()
    assert results.read(tmp_path / "out") == []
    assert main([*command, "--resume"]) == 0
    (record,) = results.read(tmp_path / "out")
    assert record.images_seen == 80
    assert not list(folder.glob("*.pth"))
    logged = [
        json.loads(line) for path in folder.glob("*/vis_data/scalars.json") for line in path.read_text().splitlines()
    ]
    assert max(entry["step"] for entry in logged) <= 4, "the second start must not train the first epoch again"


def test_a_training_that_diverges_leaves_no_record(tmp_path, data, capsys):
    options = ["finetune.base_lr=1e30", "finetune.train_cfg.max_epochs=1", "finetune.train_cfg.val_interval=1"]
    options += ["finetune.train_dataloader.batch_size=10", "finetune.param_scheduler.0.warmup=0"]
    command = finetune(data, tmp_path / "out", options)
    assert main(command) == 2
    assert "base_lr" in capsys.readouterr().err
    assert results.read(tmp_path / "out") == []


def test_a_probe_on_cached_features_that_diverges_leaves_no_record(tmp_path, data, capsys):
    options = ["linear.base_lr=1e38", "linear.train_dataloader.batch_size=10", "linear.param_scheduler.0.warmup=0"]
    command = ["transfer", "--data", str(data), "--out", str(tmp_path / "out"), "--tasks", "linear", "--cfg-options"]
    assert main([*command, *options]) == 2
    assert "expected a finite loss, found nan in epoch" in capsys.readouterr().err
    assert results.read(tmp_path / "out") == []


def test_several_tasks_at_a_time_give_the_same_figures(tmp_path, data, checkpoint, capsys):
    options = ["--tasks", "knn,linear", "--no-random", "--cfg-options", *SHORT]
    command = ["transfer", str(checkpoint), "--data", str(data), *options]
    assert main([*command, "--out", str(tmp_path / "one")]) == 0
    assert main([*command, "--out", str(tmp_path / "two"), "--jobs", "2"]) == 0
    one, two = ({r.task: r.value for r in results.read(tmp_path / name)} for name in ("one", "two"))
    assert one == two and set(one) == {"knn", "linear"}
    assert main([*command, "--out", str(tmp_path / "none"), "--jobs", "0"]) == 2
    assert "--jobs: expected an integer from 1 on" in capsys.readouterr().err
