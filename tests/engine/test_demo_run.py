"""The shipped demo pre-training, shrunk: the same run whether interrupted, or spread over processes and workers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from mimeval.engine.config import load_config
from mimeval.engine.runner import RUN_KEYS, build_runner, prepare
from tests.engine.ranks import in_ranks

SHRUNK = (
    "model.backbone.arch={'embed_dim':16,'depth':1,'num_heads':2}",
    "model.decoders.0.embed_dim=16",
    "train_dataloader.batch_size=4",
    "+param_scheduler.0.epochs=3",
    "+param_scheduler.0.warmup=0.5",
    "custom_hooks.0.interval=1",
)


@pytest.fixture
def start(tmp_path):
    """Builds a run of demo/emae_demo on eight small images."""
    folder = tmp_path / "data" / "imagenet" / "train" / "digit"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(8):
        pixels = generator.integers(0, 256, (36, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")

    def build(epochs, *options, work_dir, **choices):
        options = (*SHRUNK, f"train_cfg.max_epochs={epochs}", *options)
        cfg = load_config("demo/emae_demo", options, str(tmp_path / "data"), RUN_KEYS)
        prepare(cfg, work_dir=str(tmp_path / work_dir), **choices)
        return build_runner(cfg)

    return build


def weights(model):
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def test_an_interrupted_run_ends_as_an_uninterrupted_one(start, tmp_path):
    whole = start(3, work_dir="whole")
    whole.train()
    start(1, work_dir="parts").train()
    rest = start(3, "train_dataloader.num_workers=2", work_dir="parts", resume="auto")
    rest.train()
    for name, value in weights(whole.model).items():
        assert np.array_equal(value, weights(rest.model)[name]), name

    rows = [json.loads(line) for line in next((tmp_path / "whole").glob("*/vis_data/scalars.json")).open()]
    assert {"loss_reconstruction", "loss_consistency", "lr", "grad_norm", "images_per_s", "peak_bytes"} <= rows[
        0
    ].keys()
    with Image.open(tmp_path / "whole" / "reconstructions" / "epoch_000003.png") as panel:
        parts = 4
        assert panel.width % (1 + 2 * parts) == 0 and panel.height % 4 == 0


def test_two_processes_train_what_one_does(start):
    one = start(1, work_dir="one")
    one.train()

    def work():
        runner = start(1, "train_dataloader.batch_size=2", work_dir="two", launcher="pytorch")
        return weights(runner.train().module)

    first, second = in_ranks(work)
    for name, value in weights(one.model).items():
        assert np.array_equal(first[name], second[name])
        np.testing.assert_allclose(first[name], value, atol=1e-5, err_msg=name)
