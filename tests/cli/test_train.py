"""`mimeval train` and `mimeval test` from the command line to the files."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from mimeval.checkpoints.state import read_file
from mimeval.cli.main import main
from mimeval.cli.train import again

EVALUATION = """
_base_ = 'tiny.py'
pipeline = [dict(type='LoadRGB'), dict(type='ResizeCenterCrop', size=8), dict(type='PackImages')]
val_dataloader = dict(
    batch_size=5, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ImageFolder', data_root=_base_.data_root, folder='imagenet/train', pipeline=pipeline))
val_evaluator = dict(type='ColourError')
val_cfg = dict()
"""


@pytest.fixture
def trained(config_file, data_root, tmp_path):
    """The command line of a short run, with work dir `run`."""
    (tmp_path / "evaluation.py").write_text(EVALUATION)
    return ["train", str(config_file), "--data", str(data_root), "--work-dir", str(tmp_path / "run")]


def test_training_testing_and_resuming(trained, data_root, tmp_path, capfd):
    assert main(trained) == 0
    checkpoint = str(tmp_path / "run" / "epoch_2.pth")
    test = ["test", str(tmp_path / "evaluation.py"), checkpoint, "--data", str(data_root)]
    assert main([*test, "--work-dir", str(tmp_path / "test"), "--json"]) == 0
    metrics = json.loads(capfd.readouterr().out)
    assert metrics.keys() == {"colour_error"} and 0 < metrics["colour_error"] < 1

    assert main([*trained, "--resume", "--cfg-options", "train_cfg.max_epochs=3"]) == 0
    assert main([*trained, "--resume", checkpoint, "--cfg-options", "train_cfg.max_epochs=3"]) == 0
    resumed = read_file(tmp_path / "run" / "epoch_3.pth")
    assert main([*trained[:-1], str(tmp_path / "whole"), "--cfg-options", "train_cfg.max_epochs=3"]) == 0
    whole = read_file(tmp_path / "whole" / "epoch_3.pth")
    assert all(torch.equal(resumed["state_dict"][name], value) for name, value in whole["state_dict"].items())


def test_a_truncated_checkpoint_is_told_and_the_one_before_used(trained, tmp_path, capfd):
    assert main([*trained, "--cfg-options", "train_cfg.max_epochs=3"]) == 0
    whole = read_file(tmp_path / "run" / "epoch_3.pth")
    last = tmp_path / "run" / "epoch_3.pth"
    last.write_bytes(last.read_bytes()[:-3000])
    capfd.readouterr()
    assert main([*trained, "--resume", str(last)]) == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith(f"mimeval: {last} is cut short")
    assert main([*trained, "--resume", "--cfg-options", "train_cfg.max_epochs=3"]) == 0
    first, *_ = capfd.readouterr().err.splitlines()
    assert first == (f"mimeval: {last} is cut short (its end is missing); the one before, epoch_2.pth, is used instead")
    again = read_file(last)
    assert all(torch.equal(again["state_dict"][name], value) for name, value in whole["state_dict"].items())


def test_only_damaged_checkpoints_are_an_error(trained, tmp_path, capfd):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "epoch_1.pth").write_bytes(b"PK")
    assert main([*trained, "--resume"]) == 2
    assert "found only damaged ones (epoch_1.pth); remove them to begin anew" in capfd.readouterr().err
    assert main(trained) == 2
    assert "expected a folder without checkpoints, found epoch_1.pth" in capfd.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "c.py", "--amp"],
        ["train", "c.py", "--resume", "--amp"],
        ["train", "c.py", "--resume", "a.pth", "--amp"],
        ["train", "c.py", "--resume=a.pth", "--amp"],
        ["train", "c.py", "--amp", "--resume"],
    ],
)
def test_the_command_that_goes_on_takes_the_newest_checkpoint(arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/mimeval"])
    assert again(arguments, "none") == "mimeval train c.py --amp --resume"
    assert again(["train", "a b.py"], "none") == "mimeval train 'a b.py' --resume"
    assert again(arguments, "pytorch") == "the same command and --resume"


def test_the_terminal_shows_three_lines_and_nothing_of_the_libraries(trained):
    done = subprocess.run([sys.executable, "-m", "mimeval", *trained], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "")
    assert [line.split()[0] for line in done.stderr.splitlines()] == ["learning", "epoch", "trained"]


def fault(name, tmp_path, data_root, trained):
    """A command line with one thing wrong with it, and what the sentence must name."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "broken.py").write_text("model = dict(")
    (tmp_path / "dead.py").write_text("_base_ = 'tiny.py'\nfp16 = dict(loss_scale=512.)")
    here = str(tmp_path)
    return {
        "config path": (["train", f"{here}/nowhere.py"], "nowhere.py"),
        "config text": (["train", f"{here}/broken.py"], "broken.py"),
        "config key": (["train", f"{here}/dead.py", *trained[2:]], "'fp16'"),
        "option key": ([*trained, "--cfg-options", "train_cfg.max_epoch=3"], "train_cfg.max_epochs"),
        "option value": ([*trained, "--cfg-options", "train_cfg.max_epochs=many"], "'many'"),
        "model type": ([*trained, "--cfg-options", "model.type=TinyReconstruct"], "TinyReconstructor"),
        "data folder": ([*trained, "--data", f"{here}/gone"], "gone"),
        "empty folder": ([*trained, "--data", f"{here}/empty"], "imagenet/train"),
        "work dir": ([*trained[:-1], f"{here}/file/run"], "file/run"),
        "resume": ([*trained, "--resume", f"{here}/gone.pth"], "gone.pth"),
        "resume from no checkpoint": ([*trained, "--resume", f"{here}/file"], "file is no checkpoint"),
        "launcher": ([*trained, "--launcher", "slurm"], "SLURM_PROCID"),
        "image": ([*trained, "--strict-data"], "cat/0.png"),
        "image in a worker": (
            [*trained, "--strict-data", "--cfg-options", "train_dataloader.num_workers=1"],
            "cat/0.png",
        ),
        "test checkpoint": (["test", f"{here}/evaluation.py", f"{here}/gone.pth"], "gone.pth"),
        "nothing to test": (["test", f"{here}/tiny.py", f"{here}/file"], "val_dataloader"),
    }[name]


@pytest.mark.parametrize(
    "name",
    "config path|config text|config key|option key|option value|model type|data folder|empty folder|work dir|resume|"
    "resume from no checkpoint|launcher|image|image in a worker|test checkpoint|nothing to test".split("|"),
)
def test_what_a_user_does_wrong_is_one_sentence_and_leaves_nothing(
    name, trained, tmp_path, data_root, capfd, monkeypatch
):
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    if name.startswith("image"):
        for folder in ("cat", "dog"):
            for path in (data_root / "imagenet" / "train" / folder).glob("*.png"):
                path.unlink()
        (data_root / "imagenet" / "train" / "cat" / "0.png").write_text("no image")
        for number in range(1, 4):
            pixels = np.zeros((8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(data_root / "imagenet" / "train" / "cat" / f"{number}.png")
    arguments, named = fault(name, tmp_path, data_root, trained)
    before = sorted(tmp_path.rglob("*"))
    assert main(arguments) == 2
    out, err = capfd.readouterr()
    said = err.splitlines()
    # The rate is printed before the first image is read.
    assert out == "" and len(said) == (2 if name.startswith("image") else 1)
    assert said[-1].startswith("mimeval: ") and named in said[-1]
    assert sorted(tmp_path.rglob("*")) == before
