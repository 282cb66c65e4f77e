"""The decoder slot: from encoded visible tokens to predictions for every patch."""

from __future__ import annotations

import torch
from timm.layers import LayerNorm
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mimeval.backbones.positions import sincos_position_embedding
from mimeval.pretrain.masking import Masks
from mimeval.registry import MODELS


@MODELS.register_module()
class MAEDecoder(nn.Module):
    """Transformer blocks over the full sequence, hidden patches replaced by a learned mask token (MAE, 2111.06377).

    Args:
        encoder_dim: width D of the encoder's tokens.
        grid: (rows, columns) of patches.
        out_dim: values predicted for each patch, the target's ``dim``.
        embed_dim, depth, num_heads: size of the decoder; MAE's are 512, 8 and 16 for every encoder.
    """

    def __init__(
        self,
        encoder_dim: int,
        grid: tuple[int, int],
        out_dim: int,
        embed_dim: int = 512,
        depth: int = 8,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
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
        self.pred = nn.Linear(embed_dim, out_dim)
        self.init_weights()

    def init_weights(self) -> None:
        """MAE's initialisation: Xavier-uniform weights, zero biases, mask token N(0, 0.02)."""
        nn.init.normal_(self.mask_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, latent: Tensor, masks: Masks) -> Tensor:
        """Predictions for all patches of all parts.

        Args:
            latent: [B * K, 1 + n, D], the encoder's class token and visible tokens.
            masks: of the batch.

        Returns:
            [B, K, L, out_dim], in patch order.
        """
        batch, parts, patches = masks.mask.shape
        tokens = self.embed(latent)
        cls_token, visible = tokens[:, :1], tokens[:, 1:]
        # One mask token behind the visible ones; ids_restore points every hidden patch at it.
        candidates = torch.cat([visible, self.mask_token.to(visible.dtype).expand(len(visible), -1, -1)], dim=1)
        index = masks.ids_restore.reshape(batch * parts, patches, 1).expand(-1, -1, candidates.shape[-1])
        sequence = torch.cat([cls_token, candidates.gather(1, index)], dim=1) + self.pos_embed
        sequence = self.norm(self.blocks(sequence))
        return self.pred(sequence[:, 1:]).reshape(batch, parts, patches, -1)
