"""The one module that frozen evaluations need beyond mmpretrain's."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mimeval.errors import UserError
from mimeval.registry import MODELS


@MODELS.register_module()
class ProbeNeck(nn.Module):
    """One feature per image from a backbone's tokens: ([B, 1 + L, D],) -> ([B, D],).

    tokens: 'cls', the first token, or 'mean', the mean of the patch tokens. batch_norm: width D of a BatchNorm without affine
    parameters, epsilon 1e-6, as in MAE's linear probe (2111.06377, A.1); None for none. Raises UserError for other tokens.
    """

    def __init__(self, tokens: str, batch_norm: int | None = None) -> None:
        super().__init__()
        if tokens not in ("cls", "mean"):
            raise UserError(f"model.neck.tokens must be 'cls' or 'mean', found '{tokens}'; change it.")
        self.tokens = tokens
        self.norm = nn.Identity() if batch_norm is None else nn.BatchNorm1d(batch_norm, affine=False, eps=1e-6)

    def pool(self, inputs: Sequence[Tensor]) -> Tensor:
        """[B, D] of the backbone's last output, before the BatchNorm."""
        tokens = inputs[-1]
        return tokens[:, 0] if self.tokens == "cls" else tokens[:, 1:].mean(dim=1)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor]:
        """inputs: the backbone's outputs, the last of which is read."""
        return (self.norm(self.pool(inputs)),)
