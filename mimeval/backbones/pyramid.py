"""Feature pyramids for backbones of one scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from mimeval.errors import UserError
from mimeval.registry import MODELS

from .settings import check_choice


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


@MODELS.register_module()
class TapPyramid(BaseModule):
    """A pyramid from the taps of a plain ViT, one level each, all of the ViT's width (Li et al., 2111.11429, section 2.1).

    scales: size of each level relative to its tap (4, 2, 1 or 0.5): two transposed convolutions with a norm and GELU
    between them, one, none, or pooling. norm_cfg: that norm, as mmcv builds it. pool: 'max' (Li et al., as mmseg's
    Feature2Pyramid) or 'mean' (LocalMIM's semantic_segmentation/backbone/vit.py). Raises UserError for other values.
    """

    def __init__(
        self,
        embed_dim: int,
        norm_cfg: dict[str, Any],
        scales: Sequence[float] = (4, 2, 1, 0.5),
        pool: str = "max",
        init_cfg: dict | list | None = None,
    ):
        super().__init__(init_cfg)
        check_choice("pool of the pyramid", pool, ("max", "mean"))
        self.levels = nn.ModuleList()
        for scale in scales:
            if scale == 4:
                level: nn.Module = nn.Sequential()
                level.add_module("up", nn.ConvTranspose2d(embed_dim, embed_dim, 2, stride=2))
                level.add_module("norm", build_norm_layer(norm_cfg, embed_dim)[1])
                level.add_module("act", nn.GELU())
                level.add_module("up_again", nn.ConvTranspose2d(embed_dim, embed_dim, 2, stride=2))
            elif scale == 2:
                level = nn.ConvTranspose2d(embed_dim, embed_dim, 2, stride=2)
            elif scale == 1:
                level = nn.Identity()
            elif scale == 0.5:
                level = nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2)
            else:
                raise UserError(f"scales of the pyramid must be 4, 2, 1 or 0.5, found {scale}; change it.")
            self.levels.append(level)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """maps: one [B, embed_dim, h, w] for each scale -> [B, embed_dim, scale * h, scale * w] each."""
        return tuple(level(tap) for level, tap in zip(self.levels, maps, strict=True))
