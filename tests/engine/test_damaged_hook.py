"""A run over damaged files: it goes on and names them, or stops at the first with strict_data."""

from __future__ import annotations

import pytest
import torch

from mimeval.datasets.damaged import damaged_files
from mimeval.engine.config import load_config
from mimeval.engine.hooks import DamagedFilesHook
from mimeval.engine.runner import RUN_KEYS, as_test, build_runner, prepare
from mimeval.errors import UserError
from tests.datasets.planted import cut
from tests.engine.ranks import in_ranks

BROKEN = ("cat/1.png", "cat/2.png", "dog/4.png")
# A batch that shows all of the ten images.
WHOLE = "train_dataloader.batch_size=10"


@pytest.fixture
def root(data_root):
    for name in BROKEN:
        cut(data_root / "imagenet/train" / name)
    return data_root


@pytest.fixture
def start(config_file, root, tmp_path):
    def build(*options, work_dir="run", **choices):
        cfg = load_config(config_file, (WHOLE, *options), str(root), RUN_KEYS)
        prepare(cfg, work_dir=str(tmp_path / work_dir), **choices)
        return build_runner(cfg)

    return build


def files(root):
    return [str(root / "imagenet/train" / name) for name in BROKEN]


def test_the_run_goes_on_and_names_each_once(start, root, tmp_path, capfd):
    runner = start("train_dataloader.num_workers=2")
    runner.train()
    assert runner.iter == 2 and len(runner.model.seen) == 20
    assert sorted(damaged_files(tmp_path / "run")) == files(root)
    last = capfd.readouterr().err.splitlines()[-1]
    assert last == f"3 damaged images were replaced (names in {tmp_path / 'run/damaged.txt'})"
    (log,) = (tmp_path / "run").glob("*/*.log")
    text = log.read_text()
    for file in files(root):
        assert text.count(f"damaged file {file} (") == 1
    assert last in text


def test_what_is_trained_on_is_the_next_image(start, root, tmp_path, config_file):
    """Training on a folder in which copies of the next images lie in the places gives the same weights."""
    trained = start()
    trained.train()
    for name, taken in (("cat/1.png", "cat/3.png"), ("cat/2.png", "cat/3.png"), ("dog/4.png", "cat/0.png")):
        (root / "imagenet/train" / name).write_bytes((root / "imagenet/train" / taken).read_bytes())
    whole = start(work_dir="whole")
    whole.train()
    for left, right in zip(trained.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        assert torch.equal(left, right)
    assert damaged_files(tmp_path / "whole") == {}


def test_a_resumed_run_counts_all_of_its_damage_and_another_run_its_own(start, root, tmp_path, capfd):
    start("train_cfg.max_epochs=1").train()
    (root / "imagenet/train/cat/1.png").write_bytes((root / "imagenet/train/cat/0.png").read_bytes())
    capfd.readouterr()
    start(resume="auto").train()
    assert "3 damaged images were replaced" in capfd.readouterr().err
    for checkpoint in (tmp_path / "run").glob("*.pth"):
        checkpoint.unlink()
    start().train()
    assert "2 damaged images were replaced" in capfd.readouterr().err
    assert sorted(damaged_files(tmp_path / "run")) == files(root)[1:]


def test_strict_data_stop_before_anything_is_learned(start, root, tmp_path):
    with pytest.raises(UserError, match="expected a file that can be read, as --strict-data asks") as caught:
        start(strict_data=True).train()
    assert any(file in str(caught.value) for file in files(root))
    assert not (tmp_path / "run").exists()


def test_every_process_names_what_it_met(start, root, tmp_path, capfd):
    def work():
        runner = start("train_dataloader.batch_size=5", launcher="pytorch")
        runner.train()
        (hook,) = (hook for hook in runner.hooks if isinstance(hook, DamagedFilesHook))
        return sorted(hook.log.met)

    first, second = in_ranks(work)
    assert sorted({*first, *second}) == files(root)
    assert sorted(damaged_files(tmp_path / "run")) == files(root)
    err = capfd.readouterr().err
    assert err.count("3 damaged images were replaced") == 1


def test_a_test_shows_black_and_counts_its_own(start, config_file, root, tmp_path, capfd):
    start().train()
    folder = root / "imagenet/train"
    options = [
        "+val_dataloader={'batch_size':5,'num_workers':2,'sampler':{'type':'DefaultSampler','shuffle':False},'dataset':"
        f"{{'type':'ImageFolder','folder':'{folder}',"
        "'pipeline':[{'type':'LoadRGB'},{'type':'ResizeCenterCrop','size':8},{'type':'PackImages'}]}}",
        "+val_evaluator={'type':'ColourError'}",
        "+val_cfg={}",
    ]

    def tested(**choices):
        cfg = load_config(config_file, options, known_keys=RUN_KEYS)
        prepare(cfg, work_dir=str(tmp_path / "run"), **choices)
        as_test(cfg, str(tmp_path / "run/epoch_2.pth"))
        runner = build_runner(cfg)
        return runner, runner.test()

    (folder / "dog/4.png").write_bytes((folder / "dog/3.png").read_bytes())
    capfd.readouterr()
    runner, metrics = tested()
    assert "2 damaged images were evaluated as black" in capfd.readouterr().err.splitlines()[-1]
    images = torch.stack([data["inputs"] for data in runner.test_dataloader.dataset])
    assert len(images) == 10 and [bool(image.any()) for image in images] == [True, False, False, *[True] * 7]
    expected = (runner.model(images) - images.float().mean((2, 3)) / 255).abs().mean().item()
    assert metrics == {"colour_error": pytest.approx(expected, rel=1e-5)}
    with pytest.raises(UserError, match="cat/1.png: expected a file that can be read, as --strict-data asks"):
        tested(strict_data=True)
