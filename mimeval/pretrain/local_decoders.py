"""LocalMIM's decoders for a ViT: small, one for each tapped block, each at a scale of its own."""

from __future__ import annotations

from timm.layers import LayerNorm2d
from torch import Tensor, nn

from mimeval.backbones.positions import Grid
from mimeval.errors import UserError
from mimeval.pretrain.decoders import MAEDecoder
from mimeval.registry import MODELS


@MODELS.register_module()
class LocalMIMDecoder(MAEDecoder):
    """MAE's decoder with one block, and a head that predicts on a finer or coarser grid (LocalMIM, 2303.05251, section 3.3).

    As ViT/models_mim.MAE_Decoder of the official code. For Swin, whose levels already have the targets' grids, the official
    decoder is an MAEDecoder.

    Args:
        encoder_dim: width D of the encoder's tokens.
        grid: (rows, columns) of patches.
        out_dim: values predicted for each cell of the target.
        scale: cells of the target to a side of a patch: 4, 2, 1, or 0.5 for one cell of 2 x 2 patches.
        embed_dim, depth, num_heads, mlp_ratio: size of the decoder; the official ones for every encoder.
    """

    def __init__(
        self,
        encoder_dim: int,
        grid: Grid,
        out_dim: int,
        scale: float = 1,
        embed_dim: int = 256,
        depth: int = 1,
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__(encoder_dim, grid, out_dim, embed_dim, depth, num_heads, mlp_ratio)
        if scale not in (4, 2, 1, 0.5):
            raise UserError(f"LocalMIMDecoder.scale must be 4, 2, 1 or 0.5, found {scale}; choose one of them.")
        if any(side * scale % 1 for side in grid):
            raise UserError(
                f"LocalMIMDecoder.scale {scale} halves the grid of {grid[0]} x {grid[1]} patches, which is odd: change "
                "img_size, or leave this level out."
            )
        self.grid = int(grid[0] * scale), int(grid[1] * scale)
        self.pred = RescalingHead(embed_dim, grid, out_dim, scale)


class RescalingHead(nn.Sequential):
    """Transposed convolutions or pooling from patches to the target's cells, then a linear layer for each cell."""

    def __init__(self, dim: int, grid: Grid, out_dim: int, scale: float) -> None:
        layers: list[nn.Module] = []
        if scale == 4:
            layers = [nn.ConvTranspose2d(dim, dim // 2, 2, stride=2), LayerNorm2d(dim // 2), nn.GELU()]
            dim //= 2
        if scale in (4, 2):
            layers.append(nn.ConvTranspose2d(dim, dim // 2, 2, stride=2))
            dim //= 2
        if scale == 0.5:
            layers.append(nn.AvgPool2d(2))
        super().__init__(*layers, nn.Conv2d(dim, out_dim, 1))
        self.grid = grid

    def forward(self, tokens: Tensor) -> Tensor:
        """Features of patches [N, L, dim] -> predictions [N, L * scale ** 2, out_dim]."""
        return super().forward(tokens.transpose(1, 2).unflatten(2, self.grid)).flatten(2).transpose(1, 2)
