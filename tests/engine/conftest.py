"""A folder of small images and a config that trains on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CONFIG = """
default_scope = 'mimeval'
custom_imports = dict(imports=['tests.engine.tiny'], allow_failed_imports=False)
data_root = 'data/'
size = 8
model = dict(type='TinyReconstructor', size=size)
train_dataloader = dict(
    batch_size=4, num_workers=0, drop_last=True,
    sampler=dict(type='KeyedSampler', shuffle=True),
    dataset=dict(type='SeededDataset', dataset=dict(
        type='ImageFolder', data_root=data_root, folder='imagenet/train', with_label=False,
        pipeline=[dict(type='LoadRGB'), dict(type='RandomResizedCrop', size=size), dict(type='RandomFlip'),
                  dict(type='PackImages')])))
base_lr = 1e-2
optim_wrapper = dict(type='AutocastOptimWrapper', optimizer=dict(type='AdamW', weight_decay=0))
train_cfg = dict(by_epoch=True, max_epochs=2)
param_scheduler = [dict(type='LinearLR', start_factor=0.5, begin=0, end=4, by_epoch=False)]
default_hooks = dict(logger=dict(type='LoggerHook', interval=1))
randomness = dict(seed=3)
"""


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """imagenet/train with two classes of five random images each."""
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        folder = tmp_path / "data" / "imagenet" / "train" / name
        folder.mkdir(parents=True)
        for number in range(5):
            pixels = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "data"


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """The config's text in a file."""
    path = tmp_path / "tiny.py"
    path.write_text(CONFIG)
    return path
