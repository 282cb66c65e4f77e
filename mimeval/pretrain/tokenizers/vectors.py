"""What the patches of an image are clustered by: their pixels, or what a frozen backbone makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mimeval.backbones.positions import Grid
from mimeval.checkpoints.state import sha256
from mimeval.errors import UserError
from mimeval.pretrain.targets.base import whole_cells
from mimeval.pretrain.targets.pixel import patchify
from mimeval.registry import MODELS

Config = dict


class PatchVectors(nn.Module):
    """Base: images [B, 3, H, W], ImageNet-normalised -> vectors [B, L, dim], patches in raster order.

    Attributes:
        dim: values of a vector.
        stride: side of a patch in pixels.
    """

    dim: int
    stride: int

    def grid(self, image_size: Grid) -> Grid:
        """Patches of an image of (H, W) pixels, (rows, columns). Raises UserError where they do not fill it."""
        return whole_cells("The side of the tokenizer's patches", self.stride, image_size)

    def init_weights(self) -> None:
        """Load what the vectors are computed with, if there is anything."""

    def describe(self) -> dict[str, Any]:
        """All that determines a vector; centres fit the vectors that they were fitted on and no others."""
        raise NotImplementedError


@MODELS.register_module()
class PixelPatches(PatchVectors):
    """The ImageNet-normalised pixels of a patch, not normalised by patch (ClusterMIM: main_kmeans_cpu_patch.py).

    Args:
        patch_size: side of a patch in pixels.
    """

    def __init__(self, patch_size: int = 16) -> None:
        super().__init__()
        self.stride = patch_size
        self.dim = 3 * patch_size**2

    def describe(self) -> dict[str, Any]:
        """As in PatchVectors."""
        return {"kind": "pixels", "patch_size": self.stride}

    def forward(self, images: Tensor) -> Tensor:
        """As in PatchVectors; values in (row, column, channel) order."""
        self.grid((images.shape[-2], images.shape[-1]))
        return patchify(images, self.stride)


@MODELS.register_module()
class BackbonePatches(PatchVectors):
    """The patch tokens of a frozen backbone, class token left out (ClusterMIM, 2407.09087: DINO's ViT-S/16).

    Args:
        backbone: a VisionTransformer with out_type 'tokens' (after the final norm) or one tap, or a SwinTransformer with
            one tap. Its init_cfg names the checkpoint, which is loaded as strictly as for a transfer.

    Raises:
        UserError: a backbone that gives no tokens, or those of several layers.
    """

    def __init__(self, backbone: Config) -> None:
        super().__init__()
        self.backbone = MODELS.build(dict(backbone, frozen=True))
        layers = len(self.backbone.out_channels)
        if self.backbone.out_type not in ("tokens", "maps") or layers != 1:
            raise UserError(
                f"tokenizer.vectors.backbone: expected out_type 'tokens' or 'maps' with one layer, found out_type "
                f"'{self.backbone.out_type}' with {layers}; change out_type or taps."
            )
        self.dim, self.stride = self.backbone.out_channels[0], self.backbone.strides[0]
        self.checkpoint: Path | None = None
        self.sha256: str | None = None

    def init_weights(self) -> None:
        """Load the backbone's checkpoint. Raises UserError if it does not fit."""
        self.backbone.init_weights()
        report = getattr(self.backbone, "load_report", None)
        if report is not None:
            self.checkpoint = Path(report.path).expanduser()
            self.sha256 = sha256(self.checkpoint)

    def describe(self) -> dict[str, Any]:
        """As in PatchVectors; the checkpoint by its SHA-256."""
        return {
            "kind": "backbone",
            "type": type(self.backbone).__name__,
            "out_type": self.backbone.out_type,
            "taps": list(self.backbone.taps or ()),
            "stride": self.stride,
            "checkpoint_sha256": self.sha256,
        }

    def forward(self, images: Tensor) -> Tensor:
        """As in PatchVectors."""
        self.grid((images.shape[-2], images.shape[-1]))
        features = self.backbone(images)[0]
        if self.backbone.out_type == "maps":
            return features.flatten(2).transpose(1, 2)
        return features[:, int(self.backbone.has_class_token) :]
