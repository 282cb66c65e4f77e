"""Checkpoints of this project: a whole model's state dict as mmengine's runner writes it, or as safetensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .architecture import Architecture, State
from .base import BUFFER, DOWNSTREAM, FRESH_FC_NORM, Absence, Family
from .stored import backbone_config

# Arguments of a backbone that are fields of the Architecture, and that no shape tells.
ARGUMENTS = (
    "norm_eps",
    "norm2_eps",
    "norm_after_pool",
    "k_bias",
    "pos_resample",
    "table_resample",
    "norm_is_fc_norm",
    "window_size",
    "global_blocks",
)


class Own(Family):
    """`state_dict` in a `.pth`, or a `.safetensors`; the encoder under `backbone.`, other parts beside it."""

    name = "mimeval"
    containers = ("state_dict", "")
    signature = ("backbone.*",)
    foreign = (
        "backbone.layers.*.ln1.*",  # mmpretrain's and mmseg's own ViT
        "backbone.patch_embed.projection.*",  # theirs, all backbones
        "backbone.stages.*",  # their Swin
        "backbone.net.*",  # detectron2's ViTDet
        "neck.fpn1.*",  # mmdetection's
        "head.last_layer.weight_[gv]",  # DINO's and iBOT's training
        "dino_head.*",  # DINOv2's
    )
    renames = (("*", "*"),)
    takes_taps = True
    may_lack = (
        FRESH_FC_NORM,
        Absence("fc_norm.*", FRESH_FC_NORM.reason, given="tap_norms.0.weight"),
        *DOWNSTREAM,
    )
    may_leave = (
        ("backbone.norm.*", "this backbone ends without norm"),
        ("backbone.fc_norm.*", "this backbone ends without fc_norm"),
        ("backbone.cls_token", "this backbone has no class token"),
        ("backbone.reg_token", "this backbone has no registers"),
        ("backbone.tap_norms.*", "norms of taps that this backbone does not have"),
        ("*relative_position_index", BUFFER),
        ("*attn_mask", BUFFER),
    )
    writable = True

    def reason_to_leave(self, name: str, own: str | None = None) -> str | None:
        """As in Family; what is no encoder may be left."""
        if not name.startswith("backbone."):
            return "another part of the model"
        return super().reason_to_leave(name, own)

    def architecture(self, own: State, meta: dict[str, Any]) -> Architecture:
        """As in Family; the file's own config tells what shapes do not."""
        architecture, config = super().architecture(own, meta), backbone_config(meta)
        said = {key: config[key] for key in ARGUMENTS if key in config and hasattr(architecture, key)}
        if "global_blocks" in said:
            said["global_blocks"] = tuple(said["global_blocks"])
        return replace(architecture, **said)
