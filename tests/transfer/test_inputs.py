"""One PNG through the pipelines and preprocessors of a classifier, a detector and a segmentor."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from PIL import Image

from mimeval.engine.config import load_config, set_data_root
from mimeval.registry import DATASETS, MODELS

NAME = "val_000003.png"


def seen_by_the_backbone(config, data, training):
    init_default_scope("mimeval")
    cfg = load_config(config)
    set_data_root(cfg, str(data))
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    (place,) = (i for i in range(len(dataset)) if Path(dataset.get_data_info(i)["img_path"]).name == NAME)
    settings = dict(cfg.model.data_preprocessor, _scope_=cfg.model["_scope_"])
    preprocessor = MODELS.build(settings)
    return preprocessor(pseudo_collate([dataset[place]]), training)["inputs"][0]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("task", ["knn", "linear", "finetune", "detection", "segmentation"])
def test_every_task_feeds_rgb_normalised_by_imagenet(task, training, data):
    (path,) = data.glob(f"imagenet/val/*/{NAME}")
    rgb = np.asarray(Image.open(path).convert("RGB"), np.float32)
    assert np.abs(rgb - rgb[..., ::-1]).max() > 5, "the image must tell channels apart"
    expected = (rgb - np.array([123.675, 116.28, 103.53])) / np.array([58.395, 57.12, 57.375])
    found = seen_by_the_backbone(f"demo/{task}_demo", data, training)
    torch.testing.assert_close(found, torch.from_numpy(expected).permute(2, 0, 1).float(), rtol=1e-5, atol=1e-5)
