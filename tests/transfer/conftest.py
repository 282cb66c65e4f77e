"""A demo set of 40 training images with all ten digits in both splits and an MAE-format checkpoint of the demo backbone, made once."""

from pathlib import Path

import pytest
import torch

from mimeval.datasets.demo import DemoSpec, generate
from mimeval.engine.config import load_config
from mimeval.engine.environment import setup_environment
from mimeval.registry import MODELS

setup_environment()


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    return generate(tmp_path_factory.mktemp("data") / "demo", DemoSpec(train=40, val=30, seed=1))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    backbone = MODELS.build(dict(load_config("demo/knn_demo").model.backbone, frozen=False))
    with torch.no_grad():
        backbone.cls_token.fill_(0.125)
    path = tmp_path_factory.mktemp("checkpoints") / "tiny.pth"
    torch.save({"model": {name: value.clone() for name, value in backbone.state_dict().items()}}, path)
    return path
