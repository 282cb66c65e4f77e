"""A model small enough to train in a blink, with the interface of a pre-training model."""

from __future__ import annotations

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from torch import nn

from mimeval.registry import METRICS, MODELS


@MODELS.register_module()
class TinyReconstructor(BaseModel):
    """Learns the mean colour of an image; counts what it was fed."""

    def __init__(self, size: int = 8) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * size * size, 3)
        self.seen: list[tuple[int, int, int]] = []

    def forward(self, inputs, data_samples=None, mode="tensor"):
        images = torch.stack(list(inputs)).float() / 255
        colour = self.layer(images.flatten(1))
        if mode == "tensor":
            return colour
        if mode == "predict":
            return [{"colour": row, "gt": image.mean((1, 2))} for row, image in zip(colour, images, strict=True)]
        self.seen += [sample.sample_key for sample in data_samples]
        return {"loss_colour": (colour - images.mean((2, 3))).square().mean()}

    def reconstruct(self, images, keys):
        original = images.float() / 255
        masked = torch.stack([original * 0, original], dim=1)
        return {"original": original, "masked": masked, "reconstruction": 1 - masked}


@METRICS.register_module()
class ColourError(BaseMetric):
    """Mean absolute error of the predicted colour."""

    def process(self, data_batch, data_samples):
        self.results += [(sample["colour"] - sample["gt"]).abs().mean().item() for sample in data_samples]

    def compute_metrics(self, results):
        return {"colour_error": sum(results) / len(results)}
