"""Pictures of what the model makes of hidden patches, always of the same images under the same masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from PIL import Image
from torch import Tensor

from mimeval.datasets.sampler import SampleKey
from mimeval.datasets.seeded import SeededDataset
from mimeval.engine.sharding import is_sharded
from mimeval.errors import UserError
from mimeval.registry import HOOKS

GAP = 2


@HOOKS.register_module()
class ReconstructionHook(Hook):
    """Every `interval` epochs (iterations with `by_epoch=False`) and at the end: `work_dir/reconstructions/*.png`.

    One row per sample (`num_samples`, spread over the training set): original, then masked and reconstruction of
    each part. The model has `reconstruct(images [B, 3, H, W] uint8, keys [B, 3]) -> dict(original [B, 3, H, W],
    masked [B, K, 3, H, W], reconstruction [B, K, 3, H, W])`, floats in 0..1. A model whose `shown_level` is None (its targets
    are no pixels) has no pictures; the log says so once.

    Raises:
        UserError: the training set is not a SeededDataset.
    """

    priority = "LOW"

    def __init__(self, interval: int = 10, by_epoch: bool = True, num_samples: int = 4, min_side: int = 96) -> None:
        self.interval = interval
        self.by_epoch = by_epoch
        self.num_samples = num_samples
        self.min_side = min_side
        self._latest = -1

    def before_train(self, runner: Any) -> None:
        """Choose the samples; their keys have epoch 0, so they look the same in every picture of the run."""
        # A model that is spread over processes needs all of them for its forward pass.
        self.takes_part = runner.rank == 0 or is_sharded(runner.model)
        if not self.takes_part:
            return
        dataset = runner.train_dataloader.dataset
        if not isinstance(dataset, SeededDataset):
            raise UserError(
                f"ReconstructionHook needs a SeededDataset as training set, found {type(dataset).__name__}: wrap it"
            )
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if getattr(model, "shown_level", 0) is None:
            self.takes_part = False
            runner.logger.info("No reconstructions are drawn: none of the model's targets is made of pixels.")
            return
        count = min(self.num_samples, len(dataset))
        indices = np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist()
        keys = [SampleKey(runner.seed, 0, index) for index in indices]
        self.images = torch.stack([dataset[key]["inputs"] for key in keys])
        self.keys = torch.tensor(keys)

    def after_train_epoch(self, runner: Any) -> None:
        """Draw, every `interval` epochs."""
        if self.takes_part and self.by_epoch and self.every_n_epochs(runner, self.interval):
            self._draw(runner, runner.epoch + 1)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Draw, every `interval` iterations."""
        if self.takes_part and not self.by_epoch and self.every_n_train_iters(runner, self.interval):
            self._draw(runner, runner.iter + 1)

    def after_train(self, runner: Any) -> None:
        """Draw the trained model, if the last picture is older."""
        step = runner.epoch if self.by_epoch else runner.iter
        if self.takes_part and step != self._latest:
            self._draw(runner, step)

    def _draw(self, runner: Any, step: int) -> None:
        self._latest = step
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        training = model.training
        model.eval()
        with torch.no_grad():
            pictures = model.reconstruct(self.images, self.keys)
        model.train(training)
        if runner.rank != 0:
            return
        folder = Path(runner.work_dir, "reconstructions")
        folder.mkdir(exist_ok=True)
        unit = "epoch" if self.by_epoch else "iter"
        panel(pictures, self.min_side).save(folder / f"{unit}_{step:06d}.png")


def panel(pictures: dict[str, Tensor], min_side: int = 96) -> Image.Image:
    """One row per sample: original | masked, reconstruction of part 1 | ... of part K; small images are enlarged.

    pictures: original [B, 3, H, W], masked and reconstruction [B, K, 3, H, W], floats in 0..1.
    """
    parts = torch.stack([pictures["masked"], pictures["reconstruction"]], dim=2).flatten(1, 2)
    cells = torch.cat([pictures["original"][:, None], parts], dim=1).float().cpu()
    factor = max(1, -(-min_side // min(cells.shape[-2:])))
    cells = cells.repeat_interleave(factor, -2).repeat_interleave(factor, -1)
    cells = torch.nn.functional.pad(cells, (GAP, GAP, GAP, GAP), value=1.0)
    rows, columns, channels, height, width = cells.shape
    grid = cells.permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, channels)
    return Image.fromarray((grid.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
