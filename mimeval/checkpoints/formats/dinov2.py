"""Checkpoints of facebookresearch/dinov2: hub backbones, with and without registers and SwiGLU, and the training output."""

import re
from dataclasses import replace
from typing import Any

from .architecture import Architecture, State, ViT
from .base import PRETRAINING, Family
from .dino import PLAIN, PROJECTOR
from .mae import ENDS


class DINOv2(Family):
    """Hub: the file itself, bare names. Training: `teacher`, below `backbone.`, beside the heads of DINO and iBOT; its blocks may be
    in chunks, `blocks.<chunk>.<block>`. dinov2/models/vision_transformer.py, dinov2/train/ssl_meta_arch.py.

    Positions are resized with an offset, those of models with registers with antialiasing instead (dinov2/hub/backbones.py).
    """

    name = "dinov2"
    containers = ("teacher", "", "model")
    signature = ("*blocks.*.ls1.gamma", "*mask_token")
    foreign = ("*relative_position*", "*.attn.q_bias", "encoder.*", "*storage_tokens", "*rope_embed*")
    renames = (
        ("mask_token", "encoding.mask_token"),
        ("register_tokens", "backbone.reg_token"),
        ("blocks.#.mlp.w12.*", "backbone.blocks.#.mlp.fc1.*"),
        ("blocks.#.mlp.w3.*", "backbone.blocks.#.mlp.fc2.*"),
        *((name, f"backbone.{name}") for name in PLAIN),
    )
    may_leave = (
        ("encoding.mask_token", PRETRAINING),
        ("dino_head.*", PROJECTOR),
        ("ibot_head.*", PROJECTOR),
        ("backbone.reg_token", "this backbone has no registers"),
        *((f"backbone.{pattern}", reason) for pattern, reason in ENDS),
    )

    def recognises(self, state: State, container: str = "") -> bool:
        """As in Family; the token of hidden patches has two dimensions, [1, D]."""
        tokens = (state.get(name) for name in ("mask_token", "backbone.mask_token"))
        return super().recognises(state, container) and any(t is not None and t.dim() == 2 for t in tokens)

    def own_name(self, name: str) -> str | None:
        """As in Family, without `backbone.` and the number of the chunk."""
        bare = name.removeprefix("backbone.")
        return super().own_name(re.sub(r"^blocks\.\d+\.(\d+\.)", r"blocks.\1", bare))

    def architecture(self, own: State, meta: dict[str, Any]) -> Architecture:
        """As in Family."""
        architecture = super().architecture(own, meta)
        registers = isinstance(architecture, ViT) and architecture.registers > 0
        return replace(architecture, pos_resample="bicubic_antialias" if registers else "bicubic_offset")
