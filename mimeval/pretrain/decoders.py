"""The decoder slot: from a level's latent to predictions for every cell of the level's target."""

from __future__ import annotations

import torch
from timm.layers import LayerNorm
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mimeval.backbones.positions import Grid, sincos_position_embedding
from mimeval.backbones.watch import run_blocks
from mimeval.pretrain.heterogeneity import Watches
from mimeval.pretrain.masks import Masks
from mimeval.registry import MODELS


class Decoder(nn.Module):
    """Base of the slot, one for each level. The model fills in encoder_dim, grid and out_dim.

    Attributes:
        complete: whether it takes latents with a token for every patch (encoding SubstitutedTokens), or with the visible
            ones only (VisibleTokens) and puts mask tokens in the others' places itself.
        grid: (rows, columns) of what it predicts, L' = rows * columns.
        watchable: whether its mask tokens meet visible ones in blocks that take a watch (mask_token.py).
    """

    complete: bool
    grid: Grid
    watchable = False

    def forward(self, latent: Tensor, masks: Masks, watches: Watches | None = None) -> Tensor:
        """latent: [B * K, n, D], masks: of the batch, on their own grid -> predictions [B, K, L', out_dim].

        watches: of blocks in which mask tokens meet visible ones, where it has such.
        """
        raise NotImplementedError


@MODELS.register_module()
class LinearDecoder(Decoder):
    """One linear layer for each patch (SimMIM, BEiT, MaskFeat). It equals SimMIM's 1 x 1 convolution and pixel shuffle.

    Their order of values differs: the official head has (channel, row, column) of a patch, ours a target's own order,
    (row, column, channel) for pixels.

    Args:
        encoder_dim: width D of the encoder's tokens.
        grid: (rows, columns) of tokens.
        out_dim: values predicted for each, the target's ``dim``.
        init_std: start of the weights: N(0, init_std) truncated at 2, zero biases (MaskFeat: 0.02); None for torch's own.
    """

    complete = True

    def __init__(self, encoder_dim: int, grid: Grid, out_dim: int, init_std: float | None = None) -> None:
        super().__init__()
        self.grid = grid
        self.pred = nn.Linear(encoder_dim, out_dim)
        if init_std is not None:
            nn.init.trunc_normal_(self.pred.weight, std=init_std)
            nn.init.zeros_(self.pred.bias)

    def forward(self, latent: Tensor, masks: Masks, watches: Watches | None = None) -> Tensor:
        """latent: [B * K, (1 +) L, D]; as in Decoder, L' = L."""
        cells = self.grid[0] * self.grid[1]
        return self.pred(latent[:, -cells:]).unflatten(0, (-1, masks.parts))


@MODELS.register_module()
class MAEDecoder(Decoder):
    """Transformer blocks over the full sequence, hidden patches replaced by a learned mask token (MAE, 2111.06377).

    Args:
        encoder_dim: width D of the encoder's tokens.
        grid: (rows, columns) of patches.
        out_dim: values predicted for each patch, the target's ``dim``.
        embed_dim, depth, num_heads: size of the decoder; MAE's are 512, 8 and 16 for every encoder.
    """

    complete = False

    def __init__(
        self,
        encoder_dim: int,
        grid: Grid,
        out_dim: int,
        embed_dim: int = 512,
        depth: int = 8,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        self.grid = self.token_grid = grid
        self.watchable = depth > 0
        self.embed = nn.Linear(encoder_dim, embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        # Fixed, yet in the state dict: MAE-format files contain it.
        self.pos_embed = nn.Parameter(sincos_position_embedding(embed_dim, grid), requires_grad=False)
        self.blocks = nn.Sequential(
            *[
                Block(embed_dim, num_heads, mlp_ratio, qkv_bias=True, norm_layer=LayerNorm)  # epsilon 1e-6
                for _ in range(depth)
            ]
        )
        self.norm = LayerNorm(embed_dim)
        self.pred: nn.Module = nn.Linear(embed_dim, out_dim)
        self.init_weights()

    def init_weights(self) -> None:
        """MAE's initialisation: Xavier-uniform weights, zero biases, mask token N(0, 0.02)."""
        nn.init.normal_(self.mask_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, latent: Tensor, masks: Masks, watches: Watches | None = None) -> Tensor:
        """Predictions for all patches of all parts.

        Args:
            latent: [B * K, (1 +) n, D], the encoder's class token, where it has one, and visible tokens.
            masks: of the batch.
            watches: of its blocks.

        Returns:
            [B, K, L, out_dim], in patch order.
        """
        return self.pred(self.fill_in(latent, masks.on(self.token_grid), watches)).unflatten(0, (-1, masks.parts))

    def fill_in(self, latent: Tensor, masks: Masks, watches: Watches | None = None) -> Tensor:
        """latent: as in forward(), masks: on the grid of the tokens -> features of every patch [B * K, L, embed_dim]."""
        patches, visible_count = masks.mask.shape[2], masks.ids_keep.shape[2]
        tokens = self.embed(latent)
        prefix = tokens.shape[1] - visible_count  # 1 with a class token, else 0
        cls_token, visible = tokens[:, :prefix], tokens[:, prefix:]
        # One mask token behind the visible ones; ids_restore points every hidden patch at it.
        candidates = torch.cat([visible, self.mask_token.to(visible.dtype).expand(len(visible), -1, -1)], dim=1)
        index = masks.ids_restore.reshape(-1, patches, 1).expand(-1, -1, candidates.shape[-1])
        sequence = torch.cat([cls_token, candidates.gather(1, index)], dim=1) + self.pos_embed[:, 1 - prefix :]
        watch = None if watches is None else watches.site(masks, prefix, len(self.blocks))
        return self.norm(run_blocks(self.blocks, sequence, watch))[:, prefix:]
