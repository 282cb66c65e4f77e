"""The loss slot: how far predictions are from targets on hidden patches."""

from __future__ import annotations

from torch import Tensor, nn

from mimeval.registry import MODELS


@MODELS.register_module()
class MaskedMSE(nn.Module):
    """Mean squared error over the values of a patch, averaged over all hidden patches (MAE, 2111.06377, section 3)."""

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """
        Args:
            prediction: [B, K, L, D].
            target: [B, L, D], shared by the parts.
            mask: [B, K, L], weight of each patch, 1 where hidden.
        """
        error = (prediction.float() - target[:, None]).square().mean(-1)
        return (error * mask).sum() / mask.sum()
