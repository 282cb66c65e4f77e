"""Attention that must know where the tokens lie: relative biases (BEiT), and windows with relative positions (ViTDet, Li 2021).

Everything else about a block is timm's; a plain ViT uses timm's own Block and Attention and nothing from this file.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from .positions import Grid, offset_bias, relative_bias, relative_index, relative_table


class SpatialBlock(Block):
    """timm's pre-norm block around an attention that is also given the token grid."""

    def __init__(self, attention: nn.Module, **kwargs):
        super().__init__(**kwargs)
        self.attn = attention

    def forward(self, x: Tensor, grid: Grid, **context) -> Tensor:  # type: ignore[override]
        """x: [B, prefix + h * w, D] of grid (h, w) -> the same shape; `context` is what else the attention is given."""
        x = x + self.drop_path1(self.ls1(self.attn(self.norm1(x), grid, **context)))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))


class QueryValueBias(nn.Linear):
    """The joint projection of q, k and v with no bias for k, as in BEiT and SimMIM: [.., D] -> [.., 3D].

    A bias of k adds the same to all of a query's logits, so that softmax ignores it and its gradient is 0 but for rounding,
    which Adam would turn into steps of full size. `bias` [3D] keeps its middle third, so that names and shapes are those of
    every other ViT; it is never read, has a gradient of exactly 0 and stays as it is.
    """

    def forward(self, input: Tensor) -> Tensor:
        q, _, v = self.bias.chunk(3)
        return F.linear(input, self.weight, torch.cat([q, torch.zeros_like(q), v]))


class RelativePositionBias(nn.Module):
    """One bias table for all blocks, as in BEiT's and SimMIM's pre-training."""

    relative_position_index: Tensor
    resample = "bicubic"  # one of positions.TABLE_WAYS

    def __init__(self, grid: Grid, num_heads: int):
        super().__init__()
        self.grid = grid
        self.relative_position_bias_table = bias_table(grid, num_heads)
        self.register_buffer("relative_position_index", relative_index(grid), persistent=False)

    def forward(self, grid: Grid) -> Tensor:
        """The additive bias [1, heads, 1 + L, 1 + L] at any grid."""
        table, index = self.relative_position_bias_table, self.relative_position_index
        return relative_bias(table, index, self.grid, grid, self.resample)


class WindowRelativeBias(nn.Module):
    """Two bias tables for all blocks, one for windows and one for global attention, without class token (Li et al., 2021).

    window: tokens of a window; grid: the map that the global table is made for. As built by MIMDet's models/benchmarking.py.
    """

    def __init__(self, window: Grid, grid: Grid, num_heads: int):
        super().__init__()
        self.window, self.grid = window, grid
        self.window_table, self.global_table = (
            nn.Parameter(torch.zeros((2 * h - 1) * (2 * w - 1), num_heads)) for h, w in (window, grid)
        )

    def forward(self, grid: Grid) -> tuple[Tensor, Tensor]:
        """Additive biases [1, heads, area, area] of a window and [1, heads, L, L] of the whole map at any grid."""
        return (
            offset_bias(self.window_table, self.window, self.window),
            offset_bias(self.global_table, self.grid, grid),
        )


class BiasedAttention(Attention):
    """timm's attention, for learned biases as quick in bf16 on the CPU as elsewhere.

    torch has a fused kernel for these on GPUs only. What it does in its place on the CPU takes, in half precision, a quarter more time than
    the written-out form; in float32 a tenth less (ViT-B of 224 and 512 pixels, forward and backward).
    """

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """x: [B, n, D] -> the same shape; attn_mask: additive, or True where attended to, [.., n, n]."""
        if attn_mask is None or attn_mask.dtype == torch.bool:
            return super().forward(x, attn_mask=attn_mask, is_causal=is_causal)
        return self.merge_heads(self.attention(*self.heads(x), attn_mask))

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, n, D] -> q, k and v, [B, heads, n, d] each."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, self.head_dim)).permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def merge_heads(self, x: Tensor) -> Tensor:
        """[B, heads, n, d] -> [B, n, D], projected."""
        return self.proj(x.transpose(1, 2).flatten(2))

    def attention(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """softmax(q k^T / sqrt(d) + bias) v: [B, heads, n, d] and a bias that broadcasts to [B, heads, n, n] -> [B, heads, n, d]."""
        slow = False
        if bias is not None:
            bias = bias.to(q.dtype)
            slow = bias.requires_grad and bias.device.type == "cpu" and bias.dtype != torch.float32
        if self.fused_attn and not slow:  # fused_attn is False for exporters that have no attention of their own
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        logits = (q * self.scale) @ k.transpose(-2, -1)
        return (logits if bias is None else logits + bias).softmax(dim=-1).to(v.dtype) @ v


class BiasAttention(BiasedAttention):
    """Attention with its own relative position bias, as in BEiT's fine-tuning."""

    relative_position_index: Tensor
    resample = "bicubic"  # one of positions.TABLE_WAYS

    def __init__(self, dim: int, num_heads: int, grid: Grid):
        super().__init__(dim, num_heads=num_heads, qkv_bias=True)
        self.grid = grid
        self.relative_position_bias_table = bias_table(grid, num_heads)
        self.register_buffer("relative_position_index", relative_index(grid), persistent=False)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:  # type: ignore[override]
        """x: [B, 1 + h * w, D], class token first -> the same shape."""
        table, index = self.relative_position_bias_table, self.relative_position_index
        return super().forward(x, attn_mask=relative_bias(table, index, self.grid, grid, self.resample))


def bias_table(grid: Grid, num_heads: int) -> nn.Parameter:
    """BEiT's table: one row for each offset and three for the class token, zero at the start."""
    h, w = grid
    return nn.Parameter(torch.zeros((2 * h - 1) * (2 * w - 1) + 3, num_heads))


class WindowAttention(BiasedAttention):
    """Attention within windows, or over the whole map (window_size 0), with decomposed relative positions (ViTDet).

    table_grid: the map that the tables rel_pos_h and rel_pos_w are made for (the window where there are windows);
    None for no relative positions. There is no class token.
    """

    def __init__(self, dim: int, num_heads: int, window_size: int = 0, table_grid: Grid | None = None):
        super().__init__(dim, num_heads=num_heads, qkv_bias=True)
        self.window_size = window_size
        if window_size and table_grid is not None:
            table_grid = (window_size, window_size)
        self.has_tables = table_grid is not None
        if table_grid is not None:
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * table_grid[0] - 1, self.head_dim))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * table_grid[1] - 1, self.head_dim))

    def forward(  # type: ignore[override]
        self, x: Tensor, grid: Grid, biases: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """x: [B, h * w, D] of grid (h, w) -> the same shape; biases: what WindowRelativeBias gives for this grid."""
        if not self.window_size:
            return self.attend(x, grid, None if biases is None else biases[1])
        window = (self.window_size, self.window_size)
        windows, padded = partition(x.unflatten(1, grid), window)
        attended = self.attend(windows, window, None if biases is None else biases[0])
        return merge(attended, window, padded)[:, : grid[0], : grid[1]].flatten(1, 2)

    def attend(self, x: Tensor, grid: Grid, bias: Tensor | None = None) -> Tensor:
        if not self.has_tables:
            return super().forward(x, attn_mask=bias)
        q, k, v = self.heads(x)
        return self.merge_heads(self.attention(q, k, v, decomposed_bias(q, self.rel_pos_h, self.rel_pos_w, grid)))


def decomposed_bias(q: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, grid: Grid) -> Tensor:
    """q . R_h + q . R_w for every pair of tokens: q [B, heads, h * w, d] -> [B, heads, h * w, h * w] (ViTDet).

    q enters unscaled, as in the official code, whereas q . k is scaled.
    """
    h, w = grid
    maps = q.unflatten(2, grid)
    rows = torch.einsum("bnhwd,hkd->bnhwk", maps, relative_table(rel_pos_h, h).to(q.dtype))
    columns = torch.einsum("bnhwd,wkd->bnhwk", maps, relative_table(rel_pos_w, w).to(q.dtype))
    return (rows[..., :, None] + columns[..., None, :]).flatten(-2).flatten(2, 3)


def partition(x: Tensor, window: Grid) -> tuple[Tensor, Grid]:
    """Cut maps [B, h, w, D] into windows [B * count, window area, D]; also the padded size that merge() needs.

    Zeros are appended below and to the right and are NOT masked: in ViTDet padding attends as a token whose key and
    value are the qkv bias.
    """
    h, w = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, -w % window[1], 0, -h % window[0]))
    padded = (x.shape[1], x.shape[2])
    x = x.unflatten(2, (-1, window[1])).unflatten(1, (-1, window[0]))
    return x.transpose(2, 3).flatten(0, 2).flatten(1, 2), padded


def merge(windows: Tensor, window: Grid, padded: Grid) -> Tensor:
    """The inverse of partition(): windows [B * count, window area, D] -> maps [B, padded h, padded w, D]."""
    rows, columns = padded[0] // window[0], padded[1] // window[1]
    x = windows.unflatten(1, window).unflatten(0, (-1, rows, columns))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)
