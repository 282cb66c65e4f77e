"""A model small enough to train in a blink, with the interface of a pre-training model; a metric and a hook for its tests."""

from __future__ import annotations

import random
import time

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch import nn

from mimeval.registry import HOOKS, METRICS, MODELS


@MODELS.register_module()
class TinyReconstructor(BaseModel):
    """Learns the mean colour of an image, with as much chance in its steps as asked for; counts what it was fed."""

    def __init__(self, size: int = 8, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
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
        # One number of each generator that a step may draw from.
        drawn = float(torch.rand(())) + np.random.rand() + random.random()
        colour = colour * (1 + self.dropout * (drawn - 1.5))
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


@HOOKS.register_module()
class Wait(Hook):
    """Gives a test the time to send its signal, after the iteration was logged."""

    priority = "VERY_LOW"

    def __init__(self, train=0.05, val=0.0):
        self.train, self.val = train, val

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        time.sleep(self.train)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        time.sleep(self.val)
