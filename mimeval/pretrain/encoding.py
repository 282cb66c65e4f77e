"""The encoding slot: what the backbone is shown of an image whose cells are partly hidden, and what comes out at each level."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mimeval.backbones.positions import Grid
from mimeval.errors import UserError
from mimeval.pretrain.heterogeneity import Watches
from mimeval.pretrain.masking import Masking
from mimeval.pretrain.masks import Masks
from mimeval.registry import MODELS


class Encoding(nn.Module):
    """Base of the slot. A subclass is built with the backbone (which it does not keep) and given it again in forward().

    A backbone has `grid`, `patch_size`, `patch_dim`, `level_dims`, `level_grids`, `takes_subsets`, `embed_patches`,
    `add_positions` and `encode`, as VisionTransformer and SwinTransformer.

    Attributes:
        complete: whether a latent has a token for every patch of its grid, or for the visible ones only.
        level_dims: width D_k of each level's latent.
        level_grids: (rows, columns) of each level's grid, for images of the backbone's own size.
        watchable: whether it has mask tokens and visible ones meet in blocks that take a watch (mask_token.py).
    """

    complete: bool
    watchable = False
    level_dims: tuple[int, ...]
    level_grids: tuple[Grid, ...]

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.level_dims, self.level_grids = backbone.level_dims, backbone.level_grids

    def check(self, masking: Masking, cells: Grid) -> None:
        """Raise UserError where masks of this kind, on a grid of `cells`, cannot be encoded so."""

    def forward(self, backbone: Any, images: Tensor, masks: Masks, watches: Watches | None = None) -> list[Tensor]:
        """images: [B, 3, H, W], masks: of K parts -> a latent [B * K, n_k, D_k] for each level.

        watches: of blocks in which mask tokens meet visible ones, where it has such.
        """
        raise NotImplementedError


@MODELS.register_module()
class VisibleTokens(Encoding):
    """The encoder sees the visible patches alone (MAE, 2111.06377): [B * K, 1 + n, D], class token first.

    Raises UserError for a backbone that needs all patches: Swin, windows, relative positions.
    """

    complete = False

    def __init__(self, backbone: Any) -> None:
        super().__init__(backbone)
        if not backbone.takes_subsets:
            raise UserError(
                f"encoding VisibleTokens shows the encoder some patches of an image, but this {type(backbone).__name__} "
                "needs all of them for its windows or relative positions: set encoding to SubstitutedTokens, or rel_pos "
                "to 'none' and window_size to 0 for a plain ViT."
            )

    def forward(self, backbone: Any, images: Tensor, masks: Masks, watches: Watches | None = None) -> list[Tensor]:
        """As in Encoding; masks on a coarser grid than the patches hide all patches of a cell."""
        patches, grid = backbone.embed_patches(images)
        masks = masks.on(grid)
        valid = None if masks.key_valid is None else masks.key_valid.flatten(0, 1)
        return backbone.encode(masks.gather(patches), valid)


@MODELS.register_module()
class SubstitutedTokens(Encoding):
    """The encoder sees every patch, hidden ones as a learned mask token (BEiT 2106.08254, SimMIM 2111.09886, MaskFeat).

    The token takes a patch's place after patch embedding and before positions are added. A level's latent is
    [B * K, 1 + L, D] for a ViT (without the class token where it has none) and [B * K, L_k, C_k], raster order, for Swin.
    K parts cost K whole images.
    """

    complete = True

    def __init__(self, backbone: Any) -> None:
        super().__init__(backbone)
        self.watchable = getattr(backbone, "watchable", False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, backbone.patch_dim))
        # N(0, 0.02); BEiT and SimMIM's ViT truncate it at one standard deviation, as all that they start.
        cut = 0.02 if getattr(backbone, "weight_init", None) == "beit" else 2.0
        nn.init.trunc_normal_(self.mask_token, std=0.02, a=-cut, b=cut)

    def forward(self, backbone: Any, images: Tensor, masks: Masks, watches: Watches | None = None) -> list[Tensor]:
        """As in Encoding."""
        patches, grid = backbone.embed_patches(images, positions=False)
        hidden = masks.weights(grid)[..., None]
        sequence = patches[:, None] * (1 - hidden) + self.mask_token * hidden
        sequence = backbone.add_positions(sequence.flatten(0, 1), grid)
        if watches is None:
            return backbone.encode(sequence, grid=grid)
        watch = watches.site(masks.on(grid), backbone.num_prefix_tokens, backbone.blocks_run)
        return backbone.encode(sequence, grid=grid, watch=watch)
