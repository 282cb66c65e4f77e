"""What happens to a batch of classification images on the device: normalise, erase, mix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from timm.data.mixup import Mixup
from torch import Tensor

from mimeval.errors import UserError
from mimeval.registry import MODELS


def build_mixup(num_classes: int | None, **settings: Any) -> Mixup:
    """timm's Mixup without smoothing. Raises UserError for settings that it would misread or fail with later."""
    known = ("mixup_alpha", "cutmix_alpha", "cutmix_minmax", "prob", "switch_prob", "mode", "correct_lam")
    if not num_classes:
        raise UserError("model.data_preprocessor: mixup needs num_classes, found none; add it")
    if unknown := sorted(set(settings) - set(known)):
        raise UserError(
            f"model.data_preprocessor.mixup: expected keys among {', '.join(known)}, found {', '.join(unknown)}; "
            "remove or rename them"
        )
    mixup = Mixup(label_smoothing=0.0, num_classes=num_classes, **settings)
    if mixup.mode not in ("batch", "pair", "elem"):
        raise UserError(
            f"model.data_preprocessor.mixup.mode must be 'batch', 'pair' or 'elem', found '{mixup.mode}'; change it"
        )
    if mixup.mixup_alpha <= 0 and mixup.cutmix_alpha <= 0:
        raise UserError(
            "model.data_preprocessor.mixup: expected mixup_alpha or cutmix_alpha above 0, found neither; "
            "set mixup=None for no mixing"
        )
    return mixup


@MODELS.register_module()
class ClassificationPreprocessor(BaseDataPreprocessor):
    """uint8 RGB batches to normalised ones; in training also random erasing's noise, Mixup and CutMix, as timm.

    mean, std: RGB in 0..255. mixup: arguments of timm's ``Mixup`` but its smoothing, None for none. MAE's are
    dict(mixup_alpha=0.8, cutmix_alpha=1.0), that is one of the two for every batch, with equal probability. An image is
    mixed with the one at its mirrored place in this process's batch, with one lambda for all, so what is mixed depends on
    how many processes share a batch, as in the official code. Labels become scores [B, num_classes] then; smoothing stays
    in the head's LabelSmoothLoss, which is linear, so that the loss is that of timm's order.

    Raises UserError for settings that cannot be meant, and if there is something to mix in an odd batch.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        num_classes: int | None = None,
        mixup: Mapping[str, Any] | None = None,
        batch_augments: Any = None,
    ) -> None:
        super().__init__(non_blocking=True)
        if batch_augments:
            # mmpretrain's classifier passes its train_cfg on under this name.
            raise UserError(
                "model.train_cfg: expected none, found augments of mmpretrain; give timm's settings as "
                "model.data_preprocessor.mixup=dict(mixup_alpha=0.8, cutmix_alpha=1.0)"
            )
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)
        self.mixup = None if mixup is None else build_mixup(num_classes, **mixup)

    # numpy's draws and pasting in place are no part of a graph: compiled, they would draw other numbers.
    @torch.compiler.disable
    def forward(self, data: dict, training: bool = False) -> dict:
        """inputs: [B, 3, H, W] or B of [3, H, W], uint8 -> float32; data_samples with gt_label, and gt_score if mixed."""
        inputs = self.cast_data(data["inputs"])
        images = inputs if isinstance(inputs, Tensor) else torch.stack(list(inputs))
        images = (images.float() - self.mean) / self.std
        samples = data.get("data_samples")
        if samples and "gt_label" in samples[0]:
            labels = torch.cat([sample.gt_label for sample in samples]).to(self.device)
            for sample, label in zip(samples, labels, strict=True):
                sample.set_gt_label(label)
            if training:
                self._erase(images, samples)
                images = self._mix(images, labels, samples)
        return {"inputs": images, "data_samples": samples}

    @staticmethod
    def _erase(images: Tensor, samples: Sequence[Any]) -> None:
        for image, sample in zip(images, samples, strict=True):
            for rows, columns, noise in sample.get("erasing", ()):
                image[:, slice(*rows), slice(*columns)] = torch.from_numpy(noise).to(image)

    def _mix(self, images: Tensor, labels: Tensor, samples: Sequence[Any]) -> Tensor:
        if self.mixup is None:
            return images
        if len(images) % 2:
            raise UserError(
                f"train_dataloader.batch_size: Mixup and CutMix need an even number of images per process, found "
                f"{len(images)}; change it or set model.data_preprocessor.mixup=None"
            )
        images, scores = self.mixup(images, labels)
        for sample, score in zip(samples, scores, strict=True):
            sample.set_gt_score(score)
        return images
