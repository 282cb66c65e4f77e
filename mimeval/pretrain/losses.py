"""The loss slot: how far predictions are from targets on hidden patches."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mimeval.errors import UserError
from mimeval.registry import MODELS


class MaskedLoss(nn.Module):
    """Base of the slot.

    Attributes:
        discrete: whether targets are class ids [B, L], else values [B, L, D]; a target's attribute of the same name fits.
    """

    discrete = False

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """
        Args:
            prediction: [B, K, L, D].
            target: [B, L, D], or [B, L] int64 where discrete; shared by the parts.
            mask: [B, K, L], weight of each patch, 1 where hidden.
        """
        raise NotImplementedError


@MODELS.register_module()
class MaskedMSE(MaskedLoss):
    """Mean squared error over the values of a patch, averaged over all hidden patches (MAE, 2111.06377, section 3)."""

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """As in MaskedLoss."""
        error = (prediction.float() - target[:, None]).square().mean(-1)
        return (error * mask).sum() / mask.sum()


@MODELS.register_module()
class MaskedL1(MaskedLoss):
    """Mean absolute error over the values of hidden patches (SimMIM, 2111.09886, equation 1; official models/simmim.py).

    The official normaliser: the sum of errors over the number of hidden pixels plus 1e-5, and over the 3 channels.
    """

    channels = 3

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """As in MaskedLoss."""
        error = (prediction.float() - target[:, None]).abs().sum(-1)
        pixels = mask.sum() * (prediction.shape[-1] / self.channels)
        return (error * mask).sum() / (pixels + 1e-5) / self.channels


@MODELS.register_module()
class MaskedCrossEntropy(MaskedLoss):
    """Cross-entropy against class ids, averaged over all hidden patches (BEiT 2106.08254; ClusterMIM 2407.09087).

    Args:
        label_smoothing: share of the target spread over all classes.
    """

    discrete = True

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise UserError(
                f"MaskedCrossEntropy.label_smoothing must be at least 0 and below 1, not {label_smoothing}."
            )
        self.label_smoothing = label_smoothing

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """As in MaskedLoss."""
        ids = target[:, None].expand(prediction.shape[:-1])
        error = F.cross_entropy(
            prediction.float().flatten(0, 2), ids.flatten(), reduction="none", label_smoothing=self.label_smoothing
        )
        return (error.view(mask.shape) * mask).sum() / mask.sum()
