"""Masked image modeling with slots: every method of the suite is a configuration of this one model.

images ─► masks ─► encoding through the backbone ─► decoder per level ─► loss per level against its target
          (K parts, stacked on the batch axis)                         + regularisers between the parts
                   mask tokens, in the encoder or the decoders         + what is asked of mask tokens
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mimeval.backbones.positions import Grid
from mimeval.errors import UserError
from mimeval.pretrain.decoders import Decoder
from mimeval.pretrain.encoding import Encoding
from mimeval.pretrain.heterogeneity import Watches
from mimeval.pretrain.losses import MaskedLoss
from mimeval.pretrain.mask_token import MaskTokenOptimization
from mimeval.pretrain.masking import Masking
from mimeval.pretrain.masks import Masks
from mimeval.pretrain.regularizers import Regularizer
from mimeval.pretrain.targets.base import Target
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
        loss: slot, applied at every level, with the masks resampled to the level's grid; levels are summed.
        regularizers: losses between the parts, on the first level's predictions.
        encoding: slot, what the backbone sees of hidden patches, see encoding.py.
        mask_token: slot, what is asked of mask tokens beside reconstruction, see mask_token.py; None for nothing.
        data_preprocessor: turns uint8 images into ImageNet-normalised ones on the device.

    Raises:
        UserError: slots that do not go together, in a sentence that says what to change.
    """

    def __init__(
        self,
        backbone: Config,
        masking: Config,
        decoders: Sequence[Config],
        targets: Sequence[Config],
        loss: Config,
        regularizers: Sequence[Config] = (),
        encoding: Config | None = None,
        mask_token: Config | None = None,
        data_preprocessor: Config | None = None,
        init_cfg: Config | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        if len(decoders) != len(targets):
            raise UserError(
                f"Every level needs a decoder and a target: {len(decoders)} decoders, {len(targets)} targets."
            )
        self.backbone: Any = MODELS.build(backbone)
        rows, columns = self.backbone.grid
        patch_size = self.backbone.patch_size
        self.image_size: Grid = (rows * patch_size, columns * patch_size)
        self.masking: Masking = MODELS.build(masking)
        self.mask_grid: Grid = self.masking.cells(self.image_size, patch_size)
        self.encoding: Encoding = MODELS.build(
            dict(encoding or dict(type="mimeval.VisibleTokens"), backbone=self.backbone)
        )
        self.encoding.check(self.masking, self.mask_grid)
        levels = len(self.encoding.level_dims)
        if levels != len(decoders):
            raise UserError(
                f"The backbone gives {levels} levels, one for each of its taps, but there are {len(decoders)} decoders: "
                "give one decoder and one target for each level, or change backbone.taps."
            )
        self.targets = nn.ModuleList(MODELS.build(target) for target in targets)
        self.decoders = nn.ModuleList(
            MODELS.build(dict(decoder, encoder_dim=dim, grid=grid, out_dim=target.dim))
            for decoder, target, dim, grid in zip(
                decoders, self.targets, self.encoding.level_dims, self.encoding.level_grids, strict=True
            )
        )
        self.loss_function: MaskedLoss = MODELS.build(loss)
        self.regularizers = nn.ModuleList(MODELS.build(regularizer) for regularizer in regularizers)
        self._check_levels()
        for regularizer in self._regularizers():
            regularizer.check(self.masking.parts, self._levels()[0][1].discrete)
        self.mask_token: MaskTokenOptimization | None = MODELS.build(mask_token) if mask_token else None
        if self.mask_token is not None:
            all_decoders = [decoder for decoder, _ in self._levels()]
            self.mask_token.check(self.encoding, all_decoders, self.masking, self.mask_grid)

    def _levels(self) -> list[tuple[Decoder, Target]]:
        return [(cast(Decoder, d), cast(Target, t)) for d, t in zip(self.decoders, self.targets, strict=True)]

    def _regularizers(self) -> list[Regularizer]:
        return [cast(Regularizer, regularizer) for regularizer in self.regularizers]

    @property
    def caveats(self) -> list[str]:
        """What whoever runs this model has to know of it, in sentences; a run says them once."""
        return [slot.caveat for slot in (self.mask_token,) if slot is not None and slot.is_active]

    def init_weights(self) -> None:
        """mmengine's; targets, which stand in a list that it does not look into, read their files."""
        super().init_weights()
        for _, target in self._levels():
            if initialise := getattr(target, "init_weights", None):
                initialise()

    def _check_levels(self) -> None:
        for level, (decoder, target) in enumerate(self._levels()):
            names = type(self.encoding).__name__, type(decoder).__name__, type(target).__name__
            if decoder.complete != self.encoding.complete:
                given, wanted = ("every patch", "visible ones only")[:: 1 if self.encoding.complete else -1]
                raise UserError(
                    f"encoding {names[0]} hands tokens of {given} to decoders.{level}, but {names[1]} expects {wanted}: "
                    "VisibleTokens goes with MAEDecoder, SubstitutedTokens with LinearDecoder; change one of them."
                )
            expected = target.grid(self.image_size)
            if decoder.grid != expected:
                raise UserError(
                    f"decoders.{level} ({names[1]}) predicts a grid of {decoder.grid[0]} x {decoder.grid[1]} cells, but "
                    f"targets.{level} ({names[2]}) has {expected[0]} x {expected[1]}: change the decoder's scale or the "
                    "size of the target's cells."
                )
            if target.discrete != self.loss_function.discrete:
                kind = "classes" if target.discrete else "values"
                raise UserError(
                    f"targets.{level} ({names[2]}) is made of {kind}, which {type(self.loss_function).__name__} does not "
                    f"compare: use {'MaskedCrossEntropy' if target.discrete else 'MaskedMSE or MaskedL1'}."
                )
            _divisible(level, self.mask_grid, expected)

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
        return self.losses_of(images, self.masking(keys, self.mask_grid))

    def losses_of(self, images: Tensor, masks: Masks) -> dict[str, Tensor]:
        """Losses by name, for given masks."""
        watches = None if self.mask_token is None else self.mask_token.watches()
        predictions = self.predict(images, masks, watches)
        reconstruction = torch.stack(
            [
                self.loss_function(prediction, target(images), masks.weights(decoder.grid))
                for prediction, (decoder, target) in zip(predictions, self._levels(), strict=True)
            ]
        ).sum()
        losses = {"loss_reconstruction": reconstruction}
        for regularizer in self._regularizers():
            mask = masks.weights(self._levels()[0][0].grid)
            losses[f"loss_{regularizer.name}"] = regularizer(predictions[0], mask)
        return losses if watches is None else losses | watches.losses()

    def predict(self, images: Tensor, masks: Masks, watches: Watches | None = None) -> list[Tensor]:
        """Predictions [B, K, L_k, D_k] of every level. watches: of mask tokens, the mask-token slot's own where None."""
        watches = watches or (None if self.mask_token is None else self.mask_token.watches())
        latents = self.encode(images, masks, watches)
        return [decoder(latent, masks, watches) for decoder, latent in zip(self.decoders, latents, strict=True)]

    def encode(self, images: Tensor, masks: Masks, watches: Watches | None = None) -> list[Tensor]:
        """The latent [B * K, n_k, D_k] of every level, see encoding.py. Raises UserError for images of another size."""
        if tuple(images.shape[-2:]) != self.image_size:
            found, made = ("{} x {}".format(*size) for size in (images.shape[-2:], self.image_size))
            raise UserError(
                f"The images have {found} pixels, but the model is made for {made}: change the size of the crop in "
                "train_dataloader, or model.backbone.img_size."
            )
        watches = watches or (None if self.mask_token is None else self.mask_token.watches())
        return self.encoding(self.backbone, images, masks, watches)

    @property
    def shown_level(self) -> int | None:
        """The first level whose target can be shown as an image, None if there is none."""
        return next((k for k, target in enumerate(self.targets) if hasattr(target, "to_images")), None)

    @torch.no_grad()
    def reconstruct(self, images: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """Pictures of what the model makes of hidden patches, values 0..1 RGB, at the first level that can be shown.

        Args:
            images: [B, 3, H, W] uint8.
            keys: [B, 3] int64.

        Returns:
            ``original [B, 3, H, W]``; ``masked`` and ``reconstruction``, both [B, K, 3, H, W], with visible patches shown
            as they are. With normalised-pixel targets each patch's true mean and contrast are used (PixelTarget.to_images).

        Raises:
            UserError: no level's target is made of pixels (``shown_level`` is None).
        """
        level = self.shown_level
        if level is None:
            kinds = ", ".join(sorted({type(target).__name__ for target in self.targets}))
            raise UserError(f"No target of this model can be shown as an image, found {kinds}: leave the pictures out.")
        inputs = self.data_preprocessor({"inputs": images})["inputs"]
        masks = self.masking(keys.to(inputs.device), self.mask_grid)
        prediction = self.predict(inputs, masks)[level].float()
        target: Any = self.targets[level]
        pictures = torch.stack([target.to_images(prediction[:, k], inputs) for k in range(masks.parts)], dim=1)
        rows, columns = masks.grid
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


def _divisible(level: int, masks: Grid, target: Grid) -> None:
    fine, coarse = max(masks, target), min(masks, target)
    if fine[0] % coarse[0] or fine[1] % coarse[1]:
        raise UserError(
            f"targets.{level} lies on a grid of {target[0]} x {target[1]} cells, the masks on {masks[0]} x {masks[1]}: one "
            "must divide the other; change masking.unit or the size of the target's cells."
        )
