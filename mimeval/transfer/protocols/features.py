"""Features of a whole data set from a frozen backbone, for k-NN and for a linear probe that computes them once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_dist_info
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from torch import Tensor

from mimeval.datasets.damaged import DamageLog, summarised
from mimeval.datasets.transforms import FIXED
from mimeval.engine import heartbeat
from mimeval.engine.collective import gather
from mimeval.engine.environment import setup_environment
from mimeval.engine.evaluation import in_order
from mimeval.engine.faults import blame_config
from mimeval.engine.live import LiveLine
from mimeval.engine.strict_runner import StrictRunner
from mimeval.errors import UserError
from mimeval.registry import MODELS
from mimeval.transfer.protocols.base import PICTURES


@dataclass(frozen=True)
class Features:
    """features [N, D] before any normalisation, labels [N], data samples to be shown by their place, names of the classes."""

    features: Tensor
    labels: Tensor
    shown: dict[int, Any]
    classes: tuple[str, ...]

    def answered(self, answers: Tensor) -> list[Any]:
        """The data samples to be shown with their predicted label; answers: [N]."""
        return [sample.set_pred_label(int(answers[place])) for place, sample in self.shown.items()]


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
def extract(model: Any, cfg: Config, loader: str, line: LiveLine) -> Features | None:
    """Features of every image of a data loader of the config, each image once; None in all processes but the first.

    Several processes share the batches out, so that each feature is computed beside the same others as by one process.

    Raises:
        UserError: the loader cannot be built, its images are augmented at random, or, with `strict_data`, one is damaged.
    """
    settings = Config(dict(cfg[loader])).to_dict()
    source = settings["dataset"].get("dataset", settings["dataset"])
    if random := [step["type"] for step in source["pipeline"] if step["type"] not in FIXED]:
        raise UserError(f"config {cfg.filename}: features are computed once, but {loader} has {random[0]}; remove it.")
    settings.update(sampler=dict(type="BatchDealer", batch_size=settings["batch_size"]), drop_last=False)
    with blame_config(cfg.filename):
        batches = StrictRunner.build_dataloader(settings, seed=cfg.randomness.seed)
    total, number = len(batches.dataset), -(-len(batches.dataset) // settings["batch_size"])
    places = {place * total // PICTURES for place in range(PICTURES)}
    damaged = DamageLog(cfg.work_dir, bool(cfg.get("strict_data")))
    heartbeat.at("features")
    computed: list[Any] = []
    shown: dict[int, Any] = {}
    for batch_number, batch in zip(batches.sampler.own, batches, strict=True):
        damaged.note(batch["data_samples"])
        data = model.data_preprocessor(batch, training=False)
        features = model.neck.pool(model.backbone(data["inputs"])).float()
        computed.append((features, torch.cat([sample.gt_label for sample in data["data_samples"]])))
        for place, sample in enumerate(data["data_samples"], start=batch_number * settings["batch_size"]):
            if place in places:
                shown[place] = sample
        heartbeat.alive(stepped=True)
        line.update(f"features of {source['folder']} {batch_number + 1}/{number}")
    if get_dist_info()[1] > 1:  # a tensor of another process's GPU means nothing here
        computed = [tuple(tensor.cpu() for tensor in pair) for pair in computed]
    heartbeat.at("gathering")
    pairs = in_order([[pair] for pair in computed], number)
    notes = gather((shown, damaged.met))
    if not notes:
        return None
    met = {file: done for _, names in notes for file, done in names.items()}
    if met:
        line.note(summarised(met, damaged.file))
    device = next(model.parameters()).device
    return Features(
        torch.cat([features for features, _ in pairs]).to(device),
        torch.cat([labels for _, labels in pairs]).to(device),
        dict(sorted((place, sample) for part, _ in notes for place, sample in part.items())),
        batches.dataset.metainfo["classes"],
    )
