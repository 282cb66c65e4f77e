"""The regulariser slot: losses between the parts of an image, on top of reconstruction."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn

from mimeval.errors import UserError
from mimeval.registry import MODELS


@MODELS.register_module()
class SelfConsistency(nn.Module):
    """Parts must agree on the patches that both of them hide (EMAE, 2302.14431; form: reference in docs/methods.md).

    The published form is |sg(a) - b| + |a - sg(b)| with stop-gradient sg, summed over the values of a patch by their mean,
    averaged over pairs of parts. Its value is 2 |a - b| and its gradient that of |a - b|; computed so, in one pass.

    Args:
        weight: factor of the loss.
        normaliser: 'overlap' averages over the patches hidden in both parts, 'all' over all patches (a third-party
            implementation's choice; the paper's is unknown). With K equal parts they differ by (K - 2) / K.
    """

    name = "consistency"

    def __init__(self, weight: float = 1.0, normaliser: Literal["overlap", "all"] = "overlap") -> None:
        super().__init__()
        if normaliser not in ("overlap", "all"):
            raise UserError(f"SelfConsistency.normaliser must be 'overlap' or 'all', not {normaliser!r}.")
        self.weight = weight
        self.normaliser = normaliser

    def forward(self, prediction: Tensor, mask: Tensor) -> Tensor:
        """
        Args:
            prediction: [B, K, L, D].
            mask: [B, K, L], 1 where hidden.

        Raises:
            UserError: fewer than 3 parts, which hide no patch in common.
        """
        parts = prediction.shape[1]
        if parts < 3:
            raise UserError(
                f"SelfConsistency needs at least 3 parts to have patches hidden in two of them, not {parts}."
            )
        total = prediction.new_zeros((), dtype=torch.float32)
        pairs = list(combinations(range(parts), 2))
        for i, j in pairs:
            overlap = mask[:, i] * mask[:, j]
            count = overlap.sum() if self.normaliser == "overlap" else overlap.numel()
            distance = (prediction[:, i].float() - prediction[:, j].float()).abs().mean(-1)
            total = total + (distance * overlap).sum() / count
        mean = total / len(pairs)
        return self.weight * (mean + mean.detach())
