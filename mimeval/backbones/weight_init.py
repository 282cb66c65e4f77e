"""How a ViT's weights start: as in the official code of each pre-training method."""

from __future__ import annotations

import math
from typing import Any

from timm.layers import LayerScale
from torch import Tensor, nn

WEIGHT_INITS = ("xavier", "beit", "maskfeat")


def start_weights(model: Any, kind: str) -> None:
    """Start all weights of a VisionTransformer anew, but for its absolute positions.

    kind: 'xavier', MAE's: Xavier-uniform Linear and patch projection, zero biases, class token N(0, 0.02).
        'beit', BEiT's pre-training and SimMIM's ViT: all of these N(0, 0.02) truncated at one standard deviation, and what
        block i (from 1) adds to the trunk smaller by sqrt(2 i) (modeling_pretrain.py; SimMIM models/vision_transformer.py).
        'maskfeat': N(0, 0.02), and 0.02 for the biases of blocks (SlowFast, video_model_builder.py: MViT._init_weights).
    """
    for module in model.modules():
        if isinstance(module, (nn.LayerNorm, nn.Conv2d, LayerScale)):
            module.reset_parameters()
        if isinstance(module, nn.Linear):
            if kind == "xavier":
                nn.init.xavier_uniform_(module.weight)
            else:
                _normal(module.weight, kind)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    projection = model.patch_embed.proj
    if kind == "xavier":
        nn.init.xavier_uniform_(projection.weight.data.flatten(1))
    else:
        _normal(projection.weight, kind)
    if kind == "beit":
        nn.init.zeros_(projection.bias)
        for i, block in enumerate(model.blocks, start=1):
            block.attn.proj.weight.data.div_(math.sqrt(2 * i))
            block.mlp.fc2.weight.data.div_(math.sqrt(2 * i))
    if kind == "maskfeat":
        for name, parameter in model.blocks.named_parameters():
            if name.endswith(".bias"):
                nn.init.constant_(parameter, 0.02)
    for token in (model.cls_token, model.reg_token):
        if token is not None and kind == "xavier":
            nn.init.normal_(token, std=0.02)
        elif token is not None:
            _normal(token, kind)
    for name, parameter in model.named_parameters():
        if name.startswith("rel_pos_bias.") or name.endswith(
            ("rel_pos_h", "rel_pos_w", "relative_position_bias_table")
        ):
            nn.init.zeros_(parameter)


def _normal(tensor: Tensor, kind: str) -> None:
    cut = 0.02 if kind == "beit" else 2.0  # torch's own cut is far outside
    nn.init.trunc_normal_(tensor, std=0.02, a=-cut, b=cut)
