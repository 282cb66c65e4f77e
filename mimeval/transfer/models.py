"""The one module that frozen evaluations need beyond mmpretrain's."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mimeval.errors import UserError
from mimeval.registry import MODELS


@MODELS.register_module()
class ProbeNeck(nn.Module):
    """One feature per image from a backbone's tokens: ([B, 1 + L, D],) -> ([B, D],).

    tokens: 'cls', the first token, 'mean', the mean of the patch tokens, or 'pooled' where the backbone gives [B, D] itself (Swin).
    batch_norm: width D of a BatchNorm without affine parameters, epsilon 1e-6, as in MAE's linear probe (2111.06377, A.1); None
    for none. class_token: False where the backbone has none and gives [B, L, D] (I-JEPA). Raises UserError for other tokens.
    """

    def __init__(self, tokens: str, batch_norm: int | None = None, class_token: bool = True) -> None:
        super().__init__()
        if tokens not in ("cls", "mean", "pooled"):
            raise UserError(f"model.neck.tokens must be 'cls', 'mean' or 'pooled', found '{tokens}'; change it.")
        if tokens == "cls" and not class_token:
            raise UserError("model.neck.tokens is 'cls', but class_token is False; set model.neck.tokens='mean'.")
        self.tokens, self.class_token = tokens, class_token
        self.norm = nn.Identity() if batch_norm is None else nn.BatchNorm1d(batch_norm, affine=False, eps=1e-6)

    def pool(self, inputs: Sequence[Tensor]) -> Tensor:
        """[B, D] of the backbone's last output, before the BatchNorm. Raises UserError for one of another form."""
        tokens = inputs[-1]
        if (tokens.dim() == 2) != (self.tokens == "pooled"):
            found = "one feature for each image" if tokens.dim() == 2 else "tokens"
            raise UserError(
                f"model.neck.tokens is '{self.tokens}', but the backbone gives {found}; change one of them."
            )
        if self.tokens == "pooled":
            return tokens
        return tokens[:, 0] if self.tokens == "cls" else tokens[:, int(self.class_token) :].mean(dim=1)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor]:
        """inputs: the backbone's outputs, the last of which is read."""
        return (self.norm(self.pool(inputs)),)
