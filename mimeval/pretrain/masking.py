"""The masking slot: which patches each part of an image shows to the encoder.

A mask is 1 where a patch is hidden. All tensors carry a part axis K; plain MIM has K = 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mimeval.engine.randomness import uniform
from mimeval.errors import UserError
from mimeval.registry import MODELS


@dataclass(frozen=True)
class Masks:
    """The parts of a batch of B images with L patches, n of them visible in each of K parts.

    Attributes:
        mask: [B, K, L] float, 1 where hidden.
        ids_keep: [B, K, n] int64, the visible patches in the order in which the encoder sees them.
        ids_restore: [B, K, L] int64, for every patch its place in the sequence (visible tokens, then mask tokens).
        key_valid: [B, K, n] bool, False where ids_keep is padding, or None where all parts show equally many patches.
    """

    mask: Tensor
    ids_keep: Tensor
    ids_restore: Tensor
    key_valid: Tensor | None = None

    @property
    def parts(self) -> int:
        return self.mask.shape[1]

    def gather(self, patches: Tensor) -> Tensor:
        """The visible patches of all parts, parts stacked on the batch axis: [B, L, D] -> [B * K, n, D]."""
        batch, parts, visible = self.ids_keep.shape
        index = self.ids_keep.reshape(batch, parts * visible, 1).expand(-1, -1, patches.shape[-1])
        return patches.gather(1, index).reshape(batch * parts, visible, -1)


def masks_from_order(order: Tensor, sizes: list[int]) -> Masks:
    """Cuts each image's shuffled patches into consecutive visible sets.

    Args:
        order: [B, L] int64, a permutation of the patches of each image.
        sizes: number of visible patches of each of the K parts; at most L together.
    """
    batch, patches = order.shape
    ranks = order.argsort(1)  # the place of every patch in the shuffled sequence
    longest = max(sizes)
    starts = torch.tensor([sum(sizes[:k]) for k in range(len(sizes))], device=order.device)
    lengths = torch.tensor(sizes, device=order.device)
    # The place of a patch within each part: 0 <= place < length where the part shows it.
    place = ranks[:, None] - starts[None, :, None]
    visible = (place >= 0) & (place < lengths[None, :, None])
    # Hidden patches point just past the visible tokens, where the decoder keeps its mask token.
    ids_restore = torch.where(visible, place, longest)
    slots = torch.arange(longest, device=order.device)
    taken = (starts[:, None] + slots).clamp(max=patches - 1)
    ids_keep = order[:, taken.flatten()].reshape(batch, len(sizes), longest)
    uneven = min(sizes) < longest
    key_valid = (slots < lengths[:, None]).expand(batch, -1, -1) if uneven else None
    return Masks((~visible).float(), ids_keep, ids_restore, key_valid)


class Masking(nn.Module):
    """Base of the slot. A subclass says how many patches each part shows."""

    parts = 1

    def sizes(self, patches: int) -> list[int]:
        """Number of visible patches of each part, for an image of ``patches`` patches."""
        raise NotImplementedError

    def from_noise(self, noise: Tensor) -> Masks:
        """Masks from given noise [B, L]: patches are shuffled by sorting it (MAE, models_mae.random_masking)."""
        return masks_from_order(noise.argsort(dim=1, stable=True), self.sizes(noise.shape[1]))

    def forward(self, keys: Tensor, patches: int) -> Masks:
        """Masks for images named by their keys, equal on every device and in every batch.

        Args:
            keys: [B, 3] int64 (seed, epoch, index of the image in its data set).
            patches: number L of patches of an image.
        """
        return self.from_noise(uniform(keys, patches))


@MODELS.register_module()
class RandomMasking(Masking):
    """Hides a random subset of the patches of each image (MAE, 2111.06377, section 3).

    Args:
        ratio: share of hidden patches. int(L * (1 - ratio)) patches stay visible, as in the official code.
    """

    def __init__(self, ratio: float = 0.75) -> None:
        super().__init__()
        if not 0 < ratio < 1:
            raise UserError(f"RandomMasking.ratio must lie between 0 and 1, not {ratio}.")
        self.ratio = ratio

    def sizes(self, patches: int) -> list[int]:
        visible = int(patches * (1 - self.ratio))
        if visible == 0:
            raise UserError(f"RandomMasking.ratio {self.ratio} leaves none of {patches} patches visible: lower it.")
        return [visible]


@MODELS.register_module()
class ParallelMasking(Masking):
    """Divides the patches of each image into K random disjoint parts that together show every patch (EMAE, 2302.14431).

    Part k sees its own patches and hides all others, so the mask ratio is 1 - 1/K. Where K does not divide L, the first
    L mod K parts show one patch more than the others, so that no patch is left out.

    Args:
        parts: K. The paper's 75 % correspond to K = 4.
    """

    def __init__(self, parts: int = 4) -> None:
        super().__init__()
        if parts < 2:
            raise UserError(f"ParallelMasking.parts must be at least 2, not {parts}: use RandomMasking for one part.")
        self.parts = parts

    @property
    def ratio(self) -> float:
        return 1 - 1 / self.parts

    def sizes(self, patches: int) -> list[int]:
        if patches < self.parts:
            raise UserError(f"ParallelMasking.parts is {self.parts}, but an image has only {patches} patches.")
        each, remainder = divmod(patches, self.parts)
        return [each + (k < remainder) for k in range(self.parts)]
