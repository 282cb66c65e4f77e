"""From a folder of images to a tokenizer, a pre-training on its tokens, a checkpoint that transfers, and TCAS."""

from __future__ import annotations

import json

import pytest

from mimeval.checkpoints.state import read_file, sha256
from mimeval.cli.main import main
from mimeval.datasets.demo import DemoSpec, generate
from mimeval.pretrain.tokenizers import read_tokenizer

FIT = ["epochs=1", "train_dataloader.batch_size=20", "tokenizer.num_centres=8"]
TRAIN = [
    "train_cfg.max_epochs=1",
    "param_scheduler.0.warmup=0",
    "train_dataloader.batch_size=20",
    "model.targets.0.tokenizer.num_centres=8",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("data") / "demo", DemoSpec(train=40, val=30, seed=1))


@pytest.fixture(scope="module")
def tokenizer(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("tokens") / "sub" / "tokens.safetensors"
    arguments = ["tokenize", "fit", "configs/demo/tokens_demo.py", "--out", out, "--data", data, "--cfg-options", *FIT]
    assert main([str(argument) for argument in arguments]) == 0
    return out


def test_fit_says_what_it_wrote(data, tmp_path, capsys):
    out = tmp_path / "x.safetensors"
    command = [
        "tokenize",
        "fit",
        "demo/tokens_demo",
        "--out",
        out,
        "--data",
        data,
        "--seed",
        "5",
        "--cfg-options",
        *FIT,
    ]
    command = [str(argument) for argument in command]
    assert main(command) == 0
    said, progress = capsys.readouterr()
    assert f"{out}: 8 centres of 48 values (euclid), 1 epoch of 40 images, seed 5\n" in said
    assert f"sha256 {sha256(out)}\n" in said and "epoch 1/1  image 20/40" in progress
    assert read_tokenizer(out).facts["training"]["seed"] == 5
    assert main(command) == 2 and "x.safetensors: expected a name that is free" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0


def test_from_images_to_a_checkpoint(tokenizer, data, tmp_path, capsys):
    out = tmp_path / "run"
    centres = f"model.targets.0.centres={tokenizer}"
    command = ["train", "configs/demo/clustermim_demo.py", "--data", data, "--work-dir", out, "--cfg-options", *TRAIN]
    assert main([str(argument) for argument in [*command, centres]]) == 0
    checkpoint = read_file(out / "epoch_1.pth")
    assert checkpoint["meta"]["training"]["inputs"] == {
        "targets.0": {"file": str(tokenizer), "sha256": sha256(tokenizer)}
    }
    assert not [name for name in checkpoint["state_dict"] if name.startswith("targets.") or "tokenizer" in name]
    assert checkpoint["state_dict"]["decoders.0.pred.weight"].shape == (8, 48)
    losses = [json.loads(line)["loss"] for line in next(out.glob("*/vis_data/scalars.json")).read_text().splitlines()]
    assert all(0 < loss < 10 for loss in losses)
    # Other centres would give the classes another meaning.
    other = tmp_path / "other.safetensors"
    fit = ["tokenize", "fit", "demo/tokens_demo", "--out", other, "--data", data, "--seed", "1", "--cfg-options", *FIT]
    assert main([str(argument) for argument in fit]) == 0
    command[command.index("--cfg-options") :] = ["--resume", "--cfg-options", *TRAIN, "train_cfg.max_epochs=2"]
    assert main([str(argument) for argument in [*command, f"model.targets.0.centres={other}"]]) == 2
    assert f"targets.0 was trained with {tokenizer}" in capsys.readouterr().err
    assert main([str(argument) for argument in [*command, centres]]) == 0
    # What transfers is the backbone: it converts to MAE's format as any other.
    capsys.readouterr()
    assert main(["convert", str(out), str(tmp_path / "mae.pth"), "--to", "mae"]) == 0
    assert "cls_token" in read_file(tmp_path / "mae.pth")["model"]


def test_tcas_of_the_tokenizer(tokenizer, data, capsys):
    command = ["analyze", "tcas", str(tokenizer), str(data), "--jobs", "1", "--bootstrap", "20"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert said.startswith("TCAS 0.") and "entry-wise L1 norm; derived" in said and "20 bootstrap samples" in said
    assert "40 images of 10 classes, 2,560 patches" in said and "FEW IMAGES" in said
    assert main([*command, "--json", "--images", "12", "--seed", "3", "--norm", "frobenius", "--split", "val"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sha256"] == sha256(tokenizer) and found["norm"] == "frobenius" and found["split"] == "val"
    assert found["images"] == 12 and 0 < found["value"] < 1 and found["low"] < found["corrected"] < found["high"]


def test_an_interrupted_fit_leaves_nothing(data, tmp_path, capsys, monkeypatch):
    from mimeval.pretrain.tokenizers import fit

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "_count", interrupt)
    out = tmp_path / "x.safetensors"
    command = ["tokenize", "fit", "demo/tokens_demo", "--out", str(out), "--data", str(data), "--cfg-options", *FIT]
    assert main(command) == 130
    assert capsys.readouterr().err.endswith("mimeval: interrupted; nothing was written\n") and not out.exists()
