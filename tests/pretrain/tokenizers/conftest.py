"""A demo set of 40 images, a checkpoint of a small ViT, and configs that fit tokenizers on the set in a blink."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mimeval.datasets.demo import DemoSpec, generate
from mimeval.engine.config import load_config
from mimeval.engine.environment import setup_environment
from mimeval.pretrain.tokenizers.fit import FIT_KEYS
from mimeval.registry import MODELS

setup_environment()

VIT = dict(type="VisionTransformer", arch=dict(embed_dim=16, depth=2, num_heads=2), img_size=32, patch_size=8)


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    return generate(tmp_path_factory.mktemp("data") / "demo", DemoSpec(train=40, val=30, seed=1))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """An MAE-format file of VIT."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("checkpoints") / "vit.pth"
    torch.save({"model": {name: value.clone() for name, value in MODELS.build(VIT).state_dict().items()}}, path)
    return path


@pytest.fixture
def pixel(data) -> Config:
    """8 centres of patches of 4 px, two epochs of five batches."""
    config = load_config("demo/tokens_demo", data=str(data), known_keys=FIT_KEYS)
    config.epochs = 2
    config.tokenizer.num_centres = 8
    config.train_dataloader.batch_size = 8
    return config


@pytest.fixture
def feature(pixel, checkpoint) -> Config:
    """The same of VIT's features."""
    backbone = dict(VIT, out_type="tokens", init_cfg=dict(type="Pretrained", checkpoint=str(checkpoint)))
    pixel.tokenizer.vectors = dict(type="BackbonePatches", backbone=backbone)
    return pixel
