"""Dense windows in which no token attends to hidden ones: what SparseWindows must equal, written without grouping."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mimeval.backbones import SwinTransformer
from mimeval.backbones.attention import merge, partition
from mimeval.backbones.swin import ShiftedWindowBlock, shift_mask
from mimeval.pretrain.masks import Masks
from mimeval.pretrain.sparse_swin import SparseWindows, stack


def dense_block(block: ShiftedWindowBlock, x: Tensor, hidden: Tensor) -> Tensor:
    """x: [B, h, w, C], hidden: [h, w] bool -> the same shape; what it says at hidden tokens means nothing."""
    height, width = hidden.shape
    window, shift = block.window_size, block.shift_on((height, width))
    pad = (0, -width % window[1], 0, -height % window[0])
    keys = F.pad(block.norm1(x), (0, 0, *pad)).roll([-s for s in shift], dims=(1, 2))
    absent = F.pad(hidden, pad, value=True).roll([-s for s in shift], dims=(0, 1))
    windows, padded = partition(keys, window)
    mask = partition(absent[None, :, :, None], window)[0].squeeze(-1)[:, None] * -100.0
    mask = mask.expand(-1, mask.shape[-1], -1)
    if any(shift):
        mask = mask + shift_mask(padded, window, shift, x)
    attended = merge(block.attn(windows, mask=mask.contiguous()), window, padded).roll(shift, dims=(1, 2))
    x = x + attended[:, :height, :width]
    return x + block.mlp(block.norm2(x))


def dense_encode(encoding: SparseWindows, backbone: SwinTransformer, images: Tensor, masks: Masks) -> list[Tensor]:
    """The levels of SparseWindows, one part after the other, on whole maps."""
    parts = []
    for k in range(masks.parts):
        x = backbone.patch_embed(images)
        levels = []
        for stage, layer in enumerate(backbone.layers):
            if stage:
                x = layer.downsample(x)
                levels.append(x)
            hidden = masks.weights((x.shape[1], x.shape[2]))[0, k].bool().view(x.shape[1:3])
            for block in layer.blocks:
                x = dense_block(block, x, hidden)
        levels.append(x)
        grids = [(level.shape[1], level.shape[2]) for level in levels]
        counts = [round(float((1 - masks.weights(grid)[0, k]).sum())) for grid in grids]
        parts.append(
            [
                norm(level.flatten(1, 2)[:, masks.on(grid).ids_keep[0, k, :count]])
                for norm, level, grid, count in zip(encoding.tap_norms, levels, grids, counts, strict=True)
            ]
        )
    return [stack(level) for level in zip(*parts, strict=True)]
