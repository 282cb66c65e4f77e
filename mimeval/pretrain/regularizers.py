"""The regulariser slot: losses between the parts of an image, on top of reconstruction."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn

from mimeval.errors import UserError
from mimeval.registry import MODELS


class Regularizer(nn.Module):
    """Base of the slot. `name` is that of its loss in the log."""

    name: str

    def check(self, parts: int, discrete: bool) -> None:
        """Raise UserError where it cannot work with that many parts, or on logits (of the first level's target)."""

    def forward(self, prediction: Tensor, mask: Tensor) -> Tensor:
        """prediction: [B, K, L, D] of the first level, mask: [B, K, L], 1 where hidden -> a scalar."""
        raise NotImplementedError


@MODELS.register_module()
class SelfConsistency(Regularizer):
    """Parts must agree on the patches that both of them hide (EMAE, 2302.14431; form: reference in docs/methods.md).

    The published form is |sg(a) - b| + |a - sg(b)| with stop-gradient sg, summed over the values of a patch by their mean,
    averaged over pairs of parts. Its value is 2 |a - b| and its gradient that of |a - b|; computed so, in one pass.

    Args:
        weight: factor of the loss.
        normaliser: 'overlap' averages over the patches hidden in both parts, 'all' over all patches (a third-party
            implementation's choice; the paper's is unknown). With K equal parts they differ by (K - 2) / K.
        of: what must agree: 'values', compared by their mean absolute difference as above; or 'probabilities', for logits
            of classes, compared by half the sum of absolute differences (total variation, 0 to 1). The latter is ours: a
            constant added to all logits of a patch changes no prediction, so that logits cannot be compared as values.
    """

    name = "consistency"

    def __init__(
        self,
        weight: float = 1.0,
        normaliser: Literal["overlap", "all"] = "overlap",
        of: Literal["values", "probabilities"] = "values",
    ) -> None:
        super().__init__()
        if normaliser not in ("overlap", "all"):
            raise UserError(f"SelfConsistency.normaliser must be 'overlap' or 'all', not {normaliser!r}.")
        if of not in ("values", "probabilities"):
            raise UserError(f"SelfConsistency.of must be 'values' or 'probabilities', not {of!r}.")
        self.weight = weight
        self.normaliser = normaliser
        self.of = of

    def check(self, parts: int, discrete: bool) -> None:
        """As in Regularizer."""
        _need_three(parts)
        if discrete != (self.of == "probabilities"):
            expected, what = ("probabilities", "classes") if discrete else ("values", "values")
            raise UserError(
                f"SelfConsistency.of is '{self.of}', but the first target is made of {what}: set of='{expected}'."
            )

    def forward(self, prediction: Tensor, mask: Tensor) -> Tensor:
        """
        Args:
            prediction: [B, K, L, D].
            mask: [B, K, L], 1 where hidden.

        Raises:
            UserError: fewer than 3 parts, which hide no patch in common.
        """
        parts = prediction.shape[1]
        _need_three(parts)
        prediction = prediction.float()
        if self.of == "probabilities":
            # Half the sum of differences, by the mean over the classes that is taken below.
            prediction = prediction.softmax(-1) * (prediction.shape[-1] / 2)
        total = prediction.new_zeros((), dtype=torch.float32)
        pairs = list(combinations(range(parts), 2))
        for i, j in pairs:
            overlap = mask[:, i] * mask[:, j]
            count = overlap.sum() if self.normaliser == "overlap" else overlap.numel()
            distance = (prediction[:, i] - prediction[:, j]).abs().mean(-1)
            total = total + (distance * overlap).sum() / count
        mean = total / len(pairs)
        return self.weight * (mean + mean.detach())


def _need_three(parts: int) -> None:
    if parts < 3:
        raise UserError(
            f"SelfConsistency needs at least 3 parts to have patches hidden in two of them, not {parts}: "
            "set masking to ParallelMasking with more parts, or leave the regulariser out."
        )
