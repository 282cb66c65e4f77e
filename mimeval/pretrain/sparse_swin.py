"""Swin on visible tokens alone: a window holds what is visible of it, and windows share groups of equal size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mimeval.backbones.positions import Grid
from mimeval.backbones.swin import ShiftedWindowBlock, SwinTransformer
from mimeval.errors import UserError
from mimeval.pretrain.encoding import Encoding
from mimeval.pretrain.heterogeneity import Watches
from mimeval.pretrain.masking import Masking
from mimeval.pretrain.masks import Masks
from mimeval.registry import MODELS


@MODELS.register_module()
class SparseWindows(Encoding):
    """Swin on the visible tokens, each attending to those of its own window (LocalMIM, 2303.05251; GreenMIM, 2205.13515).

    A level's latent [B * K, n_k, D_k] has the visible tokens in the order of its masks. Levels lie after each stage's patch merging,
    the last one after the last stage: 2C, 4C, 8C, 8C wide at strides 8, 16, 32, 32 (LocalMIM's Swin/models_mim.py). Each
    has a LayerNorm, `tap_norms.<k>`. Four tokens are merged in timm's order; the official pre-training code has another
    one (docs/methods.md).

    All images of a batch have the first one's mask. Its cells must stay whole down to the last stage, so that tokens that
    are merged are visible together. Equal to dense windows in which no token attends to hidden ones, but for rounding.

    Args:
        backbone: as in Encoding.
        misplaced: give tokens the places that they have in the official pre-training code, in order to reproduce it. After
            each patch merging it lists tokens cell by cell, but their places in raster order of the whole map; so from the
            second stage on, until cells are single tokens, windows and relative positions are those of other tokens.
            GreenMIM, from which the code is taken, does not do so.

    Raises:
        UserError: the backbone is not a Swin with all its stages.
    """

    complete = False
    takes_blocks_apart = True  # it calls their parts, not the blocks: see engine/sharding.py

    def __init__(self, backbone: nn.Module, misplaced: bool = False) -> None:
        if not isinstance(backbone, SwinTransformer) or len(backbone.depths) != len(backbone.taps):
            raise UserError(
                f"encoding SparseWindows needs a SwinTransformer with out_type 'maps' and every stage as a tap, found "
                f"{type(backbone).__name__}: change the backbone, or set encoding to VisibleTokens for a ViT."
            )
        super().__init__(backbone)
        self.misplaced = misplaced
        last = len(backbone.depths) - 1
        merged = [min(stage + 1, last) for stage in range(last + 1)]
        self.level_dims = tuple(backbone.level_dims[stage] for stage in merged)
        self.level_grids = tuple(backbone.level_grids[stage] for stage in merged)
        norm: Any = backbone.patch_embed.norm
        self.tap_norms = nn.ModuleList(nn.LayerNorm(width, eps=norm.eps) for width in self.level_dims)

    def check(self, masking: Masking, cells: Grid) -> None:
        """As in Encoding: masks must be shared, and on cells of the last stage's stride or a multiple of it."""
        if not masking.shared:
            raise UserError(
                f"encoding SparseWindows gives all images of a batch one mask: set shared=True in {type(masking).__name__}."
            )
        coarsest = self.level_grids[-1]
        if coarsest[0] % cells[0] or coarsest[1] % cells[1]:
            raise UserError(
                f"encoding SparseWindows needs masks that stay whole down to Swin's last stage of {coarsest[0]} x "
                f"{coarsest[1]} tokens, found {cells[0]} x {cells[1]} cells: set {type(masking).__name__}.unit to that "
                "stage's stride, 32 pixels for patches of 4."
            )

    # Groups have other shapes with every mask: compiled code would be compiled again and again.
    @torch.compiler.disable
    def forward(
        self, backbone: nn.Module, images: Tensor, masks: Masks, watches: Watches | None = None
    ) -> list[Tensor]:
        """As in Encoding. Runs eagerly under torch.compile."""
        assert isinstance(backbone, SwinTransformer)
        patches, grid = backbone.embed_patches(images)
        parts = [self._encode_part(backbone, patches, plan) for plan in plans(backbone, grid, masks, self.misplaced)]
        return [stack(latents) for latents in zip(*parts, strict=True)]

    def _encode_part(self, backbone: SwinTransformer, patches: Tensor, plan: Sequence[Stage]) -> list[Tensor]:
        """patches: [B, L, C] -> the latents [B, n_k, D_k] of those that one part shows."""
        x = patches.index_select(1, plan[0].tokens)
        latents = []
        layers: Any = backbone.layers
        for layer, before, stage in zip(layers, (None, *plan), plan, strict=False):
            if before is not None:
                # The tokens of a cell are a small map of their own, which patch merging takes as it is.
                maps = layer.downsample(x.unflatten(1, (-1, *before.inner)).flatten(0, 1))
                x = maps.flatten(1, 2).unflatten(0, (len(x), -1)).flatten(1, 2)
                latents.append(x.index_select(1, stage.order))
            for block, groups in zip(layer.blocks, stage.groups, strict=True):
                if layer.grad_checkpointing and torch.is_grad_enabled():
                    x = checkpoint(sparse_block, block, x, groups, use_reentrant=False)
                else:
                    x = sparse_block(block, x, groups)
        latents.append(x.index_select(1, plan[-1].order))
        return [norm(latent) for norm, latent in zip(self.tap_norms, latents, strict=True)]


def stack(latents: Sequence[Tensor]) -> Tensor:
    """K parts [B, n_k, D] -> [B * K, n, D], n the largest n_k: shorter ones end in zeros, as their masks end in padding."""
    longest = max(latent.shape[1] for latent in latents)
    padded = [nn.functional.pad(latent, (0, 0, 0, longest - latent.shape[1])) for latent in latents]
    return torch.stack(padded, dim=1).flatten(0, 1)


@dataclass(frozen=True)
class Stage:
    """What one stage needs to know of one part's mask. Tokens are ordered cell by cell, in raster order inside each.

    Attributes:
        inner: (rows, columns) of tokens of a cell.
        tokens: [n] int64, the number of every visible token in the raster order of the map.
        order: [n] int64, the visible tokens in the order of the masks on this map.
        groups: of each block.
    """

    inner: Grid
    tokens: Tensor
    order: Tensor
    groups: tuple[Groups, ...]


def plans(backbone: SwinTransformer, grid: Grid, masks: Masks, misplaced: bool) -> list[list[Stage]]:
    """The stages of each part, from the masks of the first image and the grid of patches. Made on the host, once a step."""
    device = masks.mask.device
    layers: Any = backbone.layers
    parts = []
    for part, hidden in enumerate(masks.mask[0].cpu().numpy()):
        corners = np.argwhere(hidden.reshape(masks.grid) == 0)
        stages = []
        for number, layer in enumerate(layers):
            cells = Cells(corners, (grid[0] >> number, grid[1] >> number), masks.grid)
            places = cells.misplaced() if misplaced and number else cells.places()
            groups: dict[Grid, Groups] = {}
            for shift, window in {block.shift_on(cells.grid): block.window_size for block in layer.blocks}.items():
                groups[shift] = group_windows(places, window, shift).to(device)
            tokens = torch.from_numpy(cells.places() @ (cells.grid[1], 1)).to(device)
            place = torch.empty(cells.grid[0] * cells.grid[1], dtype=torch.int64, device=device)
            place[tokens] = torch.arange(len(tokens), device=device)
            order = place[masks.on(cells.grid).ids_keep[0, part, : len(tokens)]]
            of_blocks = tuple(groups[block.shift_on(cells.grid)] for block in layer.blocks)
            stages.append(Stage(cells.inner, tokens, order, of_blocks))
        parts.append(stages)
    return parts


@dataclass(frozen=True)
class Cells:
    """The visible cells of a mask on a map of tokens.

    Attributes:
        corners: [V, 2] int64, (row, column) of each visible cell.
        grid: tokens of the map.
        masks: cells of the mask, a divisor of the grid.
    """

    corners: np.ndarray
    grid: Grid
    masks: Grid

    @property
    def inner(self) -> Grid:
        """Tokens of a cell."""
        return self.grid[0] // self.masks[0], self.grid[1] // self.masks[1]

    def places(self) -> np.ndarray:
        """(row, column) of every visible token, cell by cell, [n, 2]."""
        inside = np.indices(self.inner).reshape(2, -1).T
        return (self.corners[:, None] * self.inner + inside).reshape(-1, 2)

    def misplaced(self) -> np.ndarray:
        """The places of tokens numbered cell by cell over the whole map, as if they were numbered in raster order."""
        rows, columns = self.inner
        numbers = (self.corners @ (self.masks[1], 1))[:, None] * (rows * columns) + np.arange(rows * columns)
        return np.stack(np.divmod(numbers.reshape(-1), self.grid[1]), axis=-1)


@dataclass(frozen=True)
class Groups:
    """n visible tokens in G groups of g places each. A window is in one group; a group can have several windows.

    Attributes:
        take: [G * g] int64, the token in each place; token 0 where a place is empty.
        put: [n] int64, the place of each token.
        offset: [G, g, g] int64, row of a window's table of relative positions for (query, key).
        bias: [G, 1, g, g] float, -inf where query and key lie in different windows, else 0.
    """

    take: Tensor
    put: Tensor
    offset: Tensor
    bias: Tensor

    def to(self, device: torch.device) -> Groups:
        return Groups(*(value.to(device, non_blocking=True) for value in (self.take, self.put, self.offset, self.bias)))


def group_windows(places: np.ndarray, window: Grid, shift: Grid) -> Groups:
    """Groups of the tokens at `places` [n, 2] (row, column), for windows of that size, shifted by that much.

    As large as the fullest window, so that none is split; filled by solving a knapsack for one group after the other
    (GreenMIM, section 3.2).
    """
    size, step = np.array(window), np.array(shift)
    # A shift leaves incomplete windows at all borders; cyclic shifts (Swin) with their masks are the same windows.
    rows, columns = ((places + (size - step) % size) // size).T
    _, window_of, counts = np.unique(rows * (columns.max() + 1) + columns, return_inverse=True, return_counts=True)
    in_window = np.split(np.argsort(window_of, kind="stable"), np.cumsum(counts)[:-1])
    capacity = int(counts.max())
    packed = pack(counts.tolist(), capacity)

    take = np.zeros((len(packed), capacity), dtype=np.int64)
    # Empty places are a window of their own: they attend to each other, and nothing attends to them.
    owner = np.full_like(take, -1)
    put = np.empty(len(places), dtype=np.int64)
    for group, windows in enumerate(packed):
        tokens = np.concatenate([in_window[index] for index in windows])
        take[group, : len(tokens)] = tokens
        owner[group, : len(tokens)] = window_of[tokens]
        put[tokens] = group * capacity + np.arange(len(tokens))
    together = owner[:, :, None] == owner[:, None]
    delta = places[take][:, :, None] - places[take][:, None] + size - 1
    offset = np.where(together & (owner >= 0)[:, None], delta @ (2 * size[1] - 1, 1), 0)
    bias = np.where(together, np.float32(0), np.float32(-np.inf))[:, None]
    return Groups(*map(torch.from_numpy, (take.reshape(-1), put, offset, bias)))


def pack(counts: list[int], capacity: int) -> list[list[int]]:
    """Put items of these sizes into bins of that capacity: each bin as full as what is left allows (0/1 knapsack).

    Sizes are positive and none exceeds the capacity. Returns the items of each bin, by number.
    """
    left = list(range(len(counts)))
    bins = []
    while left:
        # Bit s of reachable[i] says whether some of the first i items have the sum s.
        reachable = [1]
        for item in left:
            reachable.append((reachable[-1] | reachable[-1] << counts[item]) & ((2 << capacity) - 1))
        total = reachable[-1].bit_length() - 1
        chosen = []
        for i in reversed(range(len(left))):
            if not reachable[i] >> total & 1:
                chosen.append(left[i])
                total -= counts[left[i]]
        bins.append(chosen[::-1])
        left = [item for item in left if item not in set(chosen)]
    return bins


def sparse_block(block: ShiftedWindowBlock, x: Tensor, groups: Groups) -> Tensor:
    """One block of Swin on visible tokens x [B, n, C]. Only attention runs on groups, with their empty places."""
    x = x + block.drop_path1(sparse_attention(block.attn, block.norm1(x), groups))
    return x + block.drop_path2(block.mlp(block.norm2(x)))


def sparse_attention(attn: Any, x: Tensor, groups: Groups) -> Tensor:
    """Attention within windows, x [B, n, C] -> the same shape; `attn` is timm's WindowAttention."""
    group_count, group_size = groups.offset.shape[:2]
    table = attn.relative_position_bias_table
    bias = nn.functional.embedding(groups.offset, table).permute(0, 3, 1, 2) + groups.bias
    qkv = attn.qkv(x).index_select(1, groups.take)
    qkv = qkv.unflatten(1, (group_count, group_size)).unflatten(3, (3, attn.num_heads, -1))
    q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)  # [B, G, heads, g, C / heads] each
    weights = attn.attn_drop((q * attn.scale @ k.transpose(-2, -1) + bias).softmax(-1))
    attended = (weights @ v).transpose(2, 3).flatten(3).flatten(1, 2)
    return attn.proj_drop(attn.proj(attended.index_select(1, groups.put)))
