"""Hooks: what is measured, shown and drawn during a run."""

from __future__ import annotations

import types

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from PIL import Image

from mimeval.engine.config import load_config
from mimeval.engine.hooks import ReconstructionHook, ThroughputHook
from mimeval.engine.hooks.progress import clock, figures
from mimeval.engine.hooks.reconstruction import GAP, panel
from mimeval.engine.runner import RUN_KEYS, build_runner, prepare
from mimeval.errors import UserError


def train(config_file, data_root, tmp_path, *options):
    cfg = load_config(config_file, options, str(data_root), RUN_KEYS)
    prepare(cfg, work_dir=str(tmp_path / "run"))
    runner = build_runner(cfg)
    runner.train()
    return runner


def test_throughput_counts_images_of_all_processes():
    hub = MessageHub("throughput-test")
    for seconds in (0.5, 1.5):
        hub.update_scalar("train/time", seconds)
    hook = ThroughputHook(window=2)
    runner = types.SimpleNamespace(message_hub=hub, world_size=3)
    hook.before_train(runner)
    for _ in range(2):
        hook.after_train_iter(runner, 0, {"inputs": torch.zeros(4, 1)})
    assert hub.get_info("images_seen") == 24
    assert hub.get_scalar("train/images_per_s").current() == pytest.approx(12.0)
    assert hub.get_scalar("train/peak_bytes").current() == hook.peak > 0


def test_a_panel_shows_original_then_masked_and_reconstruction_of_each_part():
    colours = torch.linspace(0, 1, 10).reshape(2, 5)
    cells = colours[:, :, None, None, None].expand(2, 5, 3, 4, 4)
    pictures = {"original": cells[:, 0], "masked": cells[:, [1, 3]], "reconstruction": cells[:, [2, 4]]}
    image = np.asarray(panel(pictures, min_side=8))
    side = 8 + 2 * GAP
    assert image.shape == (2 * side, 5 * side, 3)
    centres = image[side // 2 :: side, side // 2 :: side, 0]
    assert np.array_equal(centres, (colours * 255).round().numpy().astype(np.uint8))
    assert (image[:GAP] == 255).all()


def test_pictures_are_drawn_every_so_often_and_at_the_end(config_file, data_root, tmp_path):
    hook = "+custom_hooks=[{'type':'ReconstructionHook','interval':2,'num_samples':3}]"
    runner = train(config_file, data_root, tmp_path, hook, "train_cfg.max_epochs=3")
    folder = tmp_path / "run" / "reconstructions"
    assert sorted(path.name for path in folder.iterdir()) == ["epoch_000002.png", "epoch_000003.png"]
    assert runner.model.training
    with Image.open(folder / "epoch_000002.png") as first, Image.open(folder / "epoch_000003.png") as last:
        assert first.size == (5 * (96 + 2 * GAP), 3 * (96 + 2 * GAP))
        # The tiny model's pictures depend on the images alone, and these are always the same.
        assert np.array_equal(np.asarray(first), np.asarray(last))


def test_drawing_does_not_change_the_run(config_file, data_root, tmp_path):
    plain = train(config_file, data_root, tmp_path / "plain")
    hook = "+custom_hooks=[{'type':'ReconstructionHook','interval':1}]"
    drawn = train(config_file, data_root, tmp_path / "drawn", hook)
    assert torch.equal(plain.model.layer.weight, drawn.model.layer.weight)


def test_a_model_without_pixels_has_no_pictures_and_says_so(config_file, data_root, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.engine.tiny.TinyReconstructor.shown_level", None, raising=False)
    train(config_file, data_root, tmp_path, "+custom_hooks=[{'type':'ReconstructionHook','interval':1}]")
    assert not (tmp_path / "run" / "reconstructions").exists()
    (log,) = (tmp_path / "run").rglob("*.log")
    assert log.read_text().count("none of the model's targets is made of pixels") == 1


def test_pictures_need_keys():
    loader = types.SimpleNamespace(dataset=[1, 2])
    with pytest.raises(UserError, match="needs a SeededDataset as training set, found list"):
        ReconstructionHook().before_train(types.SimpleNamespace(train_dataloader=loader, rank=0))


def test_a_prefix_says_whose_progress_it_is(config_file, data_root, tmp_path, capfd):
    train(config_file, data_root, tmp_path, "+custom_hooks=[{'type':'ProgressHook','prefix':'emae_live finetune  '}]")
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith("emae_live finetune  ") for line in lines)


def test_validation_leaves_a_line(config_file, data_root, tmp_path, capfd):
    dataset = f"{{'type':'ImageFolder','folder':'{data_root}/imagenet/train','pipeline':[{{'type':'LoadRGB'}},"
    dataset += "{'type':'ResizeCenterCrop','size':8},{'type':'PackImages'}]}"
    train(
        config_file,
        data_root,
        tmp_path,
        f"+val_dataloader={{'batch_size':5,'sampler':{{'type':'DefaultSampler','shuffle':False}},'dataset':{dataset}}}",
        "+val_evaluator={'type':'ColourError'}",
        "+val_cfg={}",
    )
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("validation at step")]
    assert [line.split(":")[0] for line in lines] == ["validation at step 2", "validation at step 4"]
    assert "colour_error 0." in lines[0]


def test_wording():
    assert clock(3725.4) == "1:02:05"
    assert figures({"acc": 81.23456, "names": ["a"], "n": 3}) == "acc 81.23  n 3"


def test_figures_of_numpy_are_shown():
    from mimeval.engine.hooks.progress import figures

    assert figures({"mIoU": np.float32(31.25), "classes": ["a"], "n": 3}) == "mIoU 31.25  n 3"
