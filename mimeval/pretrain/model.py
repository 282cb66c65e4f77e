"""Masked image modeling with slots: every method of the suite is a configuration of this one model.

images ─► patches ─► masks ─► visible tokens ─► encoder ─► decoder per level ─► loss against its target
                               (K parts, stacked)                              + regularisers between the parts
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mimeval.errors import UserError
from mimeval.pretrain.masking import Masks
from mimeval.pretrain.targets import PixelTarget
from mimeval.registry import MODELS

Config = dict


@MODELS.register_module()
class MaskedImageModel(BaseModel):
    """One pre-training iteration. A batch's K parts share the patch embedding and the targets and run stacked.

    Args:
        backbone: what transfers, with ``embed_patches`` and ``encode``. With ``taps``, one output per level.
        masking: slot, see masking.py.
        decoders: slot, one per level. ``encoder_dim``, ``grid`` and ``out_dim`` are filled in.
        targets: slot, one per level.
        loss: slot, applied at every level; levels are summed.
        regularizers: losses between the parts, on the finest level's predictions.
        data_preprocessor: turns uint8 images into ImageNet-normalised ones on the device.
    """

    def __init__(
        self,
        backbone: Config,
        masking: Config,
        decoders: Sequence[Config],
        targets: Sequence[Config],
        loss: Config,
        regularizers: Sequence[Config] = (),
        data_preprocessor: Config | None = None,
        init_cfg: Config | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        if len(decoders) != len(targets):
            raise UserError(
                f"Every level needs a decoder and a target: {len(decoders)} decoders, {len(targets)} targets."
            )
        self.backbone = MODELS.build(backbone)
        self.masking = MODELS.build(masking)
        self.targets = nn.ModuleList(MODELS.build(target) for target in targets)
        self.decoders = nn.ModuleList(
            MODELS.build(
                dict(decoder, encoder_dim=self.backbone.embed_dim, grid=self.backbone.grid, out_dim=target.dim)
            )
            for decoder, target in zip(decoders, self.targets, strict=True)
        )
        self.loss_function = MODELS.build(loss)
        self.regularizers = nn.ModuleList(MODELS.build(regularizer) for regularizer in regularizers)

    @property
    def num_patches(self) -> int:
        """L, the number of patches of an image."""
        rows, columns = self.backbone.grid
        return rows * columns

    def forward(self, inputs: Tensor, data_samples: Sequence | None = None, mode: str = "tensor"):
        """
        Args:
            inputs: images [B, 3, H, W], float, ImageNet-normalised.
            data_samples: B samples that carry ``sample_key`` (seed, epoch, index), which determines the masks.
            mode: 'loss' for a dict of losses, 'tensor' for the backbone's features of the whole images.
        """
        if mode == "loss":
            return self.loss(inputs, sample_keys(data_samples, inputs.device))
        if mode == "tensor":
            return self.backbone(inputs)
        raise UserError(f"MaskedImageModel has the modes 'loss' and 'tensor', not {mode!r}.")

    def loss(self, images: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """Losses by name for images [B, 3, H, W] named by keys [B, 3]."""
        return self.losses_of(images, self.masking(keys, self.num_patches))

    def losses_of(self, images: Tensor, masks: Masks) -> dict[str, Tensor]:
        """Losses by name, for given masks."""
        predictions = self.predict(images, masks)
        reconstruction = torch.stack(
            [
                self.loss_function(prediction, target(images), masks.mask)
                for prediction, target in zip(predictions, self.targets, strict=True)
            ]
        ).sum()
        losses = {"loss_reconstruction": reconstruction}
        for regularizer in self.regularizers:
            losses[f"loss_{regularizer.name}"] = regularizer(predictions[0], masks.mask)
        return losses

    def predict(self, images: Tensor, masks: Masks) -> list[Tensor]:
        """Predictions [B, K, L, D] of every level."""
        latents = self.encode(images, masks)
        return [decoder(latent, masks) for decoder, latent in zip(self.decoders, latents, strict=True)]

    def encode(self, images: Tensor, masks: Masks) -> list[Tensor]:
        """The encoder's class and visible tokens [B * K, 1 + n, D] of every level."""
        patches, _ = self.backbone.embed_patches(images)
        valid = None if masks.key_valid is None else masks.key_valid.flatten(0, 1)
        return self.backbone.encode(masks.gather(patches), valid)

    @torch.no_grad()
    def reconstruct(self, images: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """Pictures of what the model makes of hidden patches, values 0..1 RGB.

        Args:
            images: [B, 3, H, W] uint8.
            keys: [B, 3] int64.

        Returns:
            ``original [B, 3, H, W]``; ``masked`` and ``reconstruction``, both [B, K, 3, H, W], with visible patches shown
            as they are. With normalised-pixel targets each patch's true mean and contrast are used (PixelTarget.to_images).
        """
        inputs = self.data_preprocessor({"inputs": images})["inputs"]
        masks = self.masking(keys.to(inputs.device), self.num_patches)
        prediction = self.predict(inputs, masks)[0].float()
        target = cast(PixelTarget, self.targets[0])
        rows, columns = self.backbone.grid
        pictures = torch.stack([target.to_images(prediction[:, k], inputs) for k in range(masks.parts)], dim=1)
        hidden = masks.mask.reshape(len(images), masks.parts, 1, rows, columns)
        hidden = hidden.repeat_interleave(images.shape[2] // rows, 3).repeat_interleave(images.shape[3] // columns, 4)
        original = self._denormalise(inputs)
        reconstruction = self._denormalise(pictures)
        return {
            "original": original,
            "masked": original[:, None] * (1 - hidden) + 0.5 * hidden,
            "reconstruction": original[:, None] * (1 - hidden) + reconstruction * hidden,
        }

    def _denormalise(self, images: Tensor) -> Tensor:
        pixels = images * self.data_preprocessor.std + self.data_preprocessor.mean
        return (pixels / 255).clamp(0, 1)


def sample_keys(data_samples: Sequence | None, device: torch.device) -> Tensor:
    """The keys [B, 3] that the sampler gave to the samples of a batch."""
    if not data_samples or "sample_key" not in data_samples[0].metainfo_keys():
        raise UserError(
            "Masks are drawn from each image's sample_key, which the batch lacks: wrap the data set in SeededDataset "
            "and use KeyedSampler."
        )
    return torch.tensor([sample.sample_key for sample in data_samples], dtype=torch.int64, device=device)
