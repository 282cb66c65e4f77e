"""Features of a whole data set from a frozen backbone, for k-NN and for a linear probe that computes them once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, set_random_seed
from torch import Tensor

from mimeval.engine.environment import setup_environment
from mimeval.engine.faults import blame_config
from mimeval.engine.live import LiveLine
from mimeval.errors import UserError
from mimeval.registry import MODELS
from mimeval.transfer.protocols.base import PICTURES

# Transforms that give the same image whenever they are asked.
FIXED = ("LoadRGB", "ResizeCenterCrop", "PackImages")


@dataclass(frozen=True)
class Features:
    """features [N, D] before any normalisation, labels [N], data samples in the same order, names of the classes."""

    features: Tensor
    labels: Tensor
    samples: list[Any]
    classes: tuple[str, ...]

    def answered(self, answers: Tensor, count: int = PICTURES) -> list[Any]:
        """`count` data samples, evenly spaced, with their predicted label; answers: [N]."""
        total = len(self.samples)
        places = sorted({place * total // count for place in range(count)})
        return [self.samples[place].set_pred_label(int(answers[place])) for place in places]


def build_frozen(cfg: Config) -> Any:
    """The config's classifier with its checkpoint loaded, in eval mode on the best device. Raises UserError naming the config."""
    setup_environment()
    init_default_scope("mimeval")
    if not cfg.model.backbone.get("frozen"):
        raise UserError(
            f"config {cfg.filename}: features come from a backbone as it is; set model.backbone.frozen=True."
        )
    set_random_seed(cfg.randomness.seed)
    with blame_config(cfg.filename):
        model = MODELS.build(cfg.model)
    model.init_weights()
    return model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu")).eval()


@torch.no_grad()
def extract(model: Any, cfg: Config, loader: str, line: LiveLine) -> Features:
    """Features of every image of a data loader of the config, each image once.

    Raises:
        UserError: the loader cannot be built, or its images are augmented at random.
    """
    settings = Config(dict(cfg[loader])).to_dict()
    source = settings["dataset"].get("dataset", settings["dataset"])
    if random := [step["type"] for step in source["pipeline"] if step["type"] not in FIXED]:
        raise UserError(f"config {cfg.filename}: features are computed once, but {loader} has {random[0]}; remove it.")
    settings.update(dataset=source, sampler=dict(type="DefaultSampler", shuffle=False), drop_last=False)
    with blame_config(cfg.filename):
        batches = Runner.build_dataloader(settings, seed=cfg.randomness.seed)
    features, samples = [], []
    for step, batch in enumerate(batches, start=1):
        data = model.data_preprocessor(batch, training=False)
        features.append(model.neck.pool(model.backbone(data["inputs"])).float())
        samples += data["data_samples"]
        line.update(f"features of {source['folder']} {step}/{len(batches)}")
    labels = torch.cat([sample.gt_label for sample in samples]).to(features[0].device)
    return Features(torch.cat(features), labels, samples, batches.dataset.metainfo["classes"])
