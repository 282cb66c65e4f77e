"""Feature pyramids for backbones of one scale."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from mimeval.errors import UserError
from mimeval.registry import MODELS


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """A pyramid from the last map of a plain ViT alone (ViTDet, 2203.16527, section 3); norms are over channels.

    scales: size of each level relative to the map (4, 2, 1 or 0.5). num_outs: levels in all; those beyond the scales
    are every second pixel of the one before, as the p6 of FPN. Raises UserError for other scales.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        scales: Sequence[float] = (4, 2, 1, 0.5),
        num_outs: int = 5,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(init_cfg)
        if num_outs < len(scales):
            raise UserError(f"num_outs must be at least the {len(scales)} scales, found {num_outs}; raise it.")
        self.num_extra = num_outs - len(scales)
        self.levels = nn.ModuleList()
        for scale in scales:
            resize, channels = resize_layers(in_channels, scale)
            self.levels.append(
                nn.Sequential(
                    *resize,
                    nn.Conv2d(channels, out_channels, 1, bias=False),
                    LayerNorm2d(out_channels),
                    nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                    LayerNorm2d(out_channels),
                )
            )

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """maps: [B, in_channels, h, w], the last is used -> num_outs of [B, out_channels, h_k, w_k], fine first."""
        outputs = [level(maps[-1]) for level in self.levels]
        for _ in range(self.num_extra):
            outputs.append(F.max_pool2d(outputs[-1], kernel_size=1, stride=2))
        return tuple(outputs)


def resize_layers(channels: int, scale: float) -> tuple[list[nn.Module], int]:
    """Layers that resize a map by `scale`, and the channels that come out of them."""
    if scale == 4:
        half, quarter = channels // 2, channels // 4
        first, second = nn.ConvTranspose2d(channels, half, 2, stride=2), nn.ConvTranspose2d(half, quarter, 2, stride=2)
        return [first, LayerNorm2d(half), nn.GELU(), second], quarter
    if scale == 2:
        return [nn.ConvTranspose2d(channels, channels // 2, 2, stride=2)], channels // 2
    if scale == 1:
        return [], channels
    if scale == 0.5:
        return [nn.MaxPool2d(2, stride=2)], channels
    raise UserError(f"scales of the pyramid must be 4, 2, 1 or 0.5, found {scale}; change it.")
