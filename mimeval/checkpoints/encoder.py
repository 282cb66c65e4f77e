"""A task's backbone with the encoder that a checkpoint is: what a recipe does not choose, whoever pre-trained it does.

A recipe is written for one encoder, mostly MAE's plain ViT. Of another one of the same size it takes over whatever a checkpoint
alone determines (relative biases, layer scale, registers, its MLP, ...), so that it can be loaded strictly; what the recipe adds for
its task stays, unless the encoder cannot have it. Every difference is a phrase for the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mimeval.backbones.positions import attends_in_windows

from .formats.architecture import Architecture, ViT
from .settings import VISION_DEFAULTS, mlp_ratio

BIASES = {
    "bias": "relative biases",
    "shared_bias": "one relative bias for all blocks",
    "rotary": "rotary positions",
    "rotary_centred": "centred rotary positions",
}


def with_encoder(backbone: Mapping[str, Any], architecture: Architecture) -> tuple[dict[str, Any], list[str]]:
    """The config of a VisionTransformer for this encoder, and what differs from the recipe, in phrases.

    Configs of other backbones, and encoders of another width or depth, are left as they are: the strict loader says what is wrong.
    """
    new, a, size = dict(backbone), architecture, size_for(backbone, architecture)
    if size is None or not isinstance(a, ViT) or a.embed_dim is None:
        return new, []
    differs: list[str] = []

    def take(key: str, value: Any, phrase: str) -> None:
        if new.get(key, VISION_DEFAULTS[key]) != value:
            new[key] = value
            differs.append(phrase)

    arch = dict(size)
    if a.heads_are_stored and a.num_heads != size["num_heads"]:
        arch["num_heads"] = a.num_heads
        differs.append(f"{a.num_heads} heads")
    if a.mlp_ratio is not None and round(a.mlp_ratio * a.embed_dim) != int(size.get("mlp_ratio", 4.0) * a.embed_dim):
        arch["mlp_ratio"] = mlp_ratio(a.embed_dim, a.mlp_ratio)
        differs += [f"an MLP of {a.mlp_ratio:.3g} times its width"] if a.mlp == "gelu" else []
    if arch != size:
        new["arch"] = arch
    kinds = {"gelu": "a plain MLP", "swiglu": "SwiGLU", "swiglu_norm": "SwiGLU with a norm"}
    take("mlp", a.mlp, kinds[a.mlp])
    if not a.positions:
        take("pos_embed", "none", "no absolute positions")
    elif new.get("pos_embed") == "none":
        take("pos_embed", "learned", "absolute positions")
    if a.layer_scale and new.get("init_values") is None:
        take("init_values", 1.0, "layer scale")
    if "k_bias" not in new:
        take("k_bias", a.k_bias, "no bias of k")
    if "norm_eps" not in new:
        take("norm_eps", a.norm_eps, f"an epsilon of {a.norm_eps:g} in LayerNorm")
    if a.patch_size is not None and new.get("out_type") != "maps":
        take("patch_size", a.patch_size, f"patches of {a.patch_size} pixels")
    if not is_windowed(new):
        take("class_token", a.cls_token, "no class token")
        take("registers", a.registers, f"{a.registers} registers")
        _relative(new, a, take)
    elif a.registers:
        differs.append("its registers left out, which windows do not have")
    return new, differs


def size_for(backbone: Mapping[str, Any], architecture: Architecture) -> dict[str, Any] | None:
    """The arch of a VisionTransformer's config, in numbers, if this encoder has its width and depth; else None."""
    from mimeval.backbones.vit_settings import resolve_size

    a = architecture
    if not isinstance(a, ViT) or not str(backbone.get("type")).endswith("VisionTransformer"):
        return None
    size = resolve_size(backbone.get("arch", "base"))
    return size if (a.embed_dim, a.depth) == (size["embed_dim"], size["depth"]) else None


def _relative(new: dict[str, Any], a: ViT, take: Any) -> None:
    recipe = new.get("rel_pos", "none")
    if a.rel_pos in BIASES and (recipe, a.rel_pos) != ("bias", "shared_bias"):  # the shared table goes into each block
        take("rel_pos", a.rel_pos, BIASES[a.rel_pos])
        if a.rel_pos == "rotary" and a.rel_pos_grid is not None and a.patch_size is not None:
            new["rel_pos_size"] = (a.rel_pos_grid[0] * a.patch_size, a.rel_pos_grid[1] * a.patch_size)
    elif a.rel_pos == "none" and recipe in ("bias", "shared_bias") and (a.registers or not a.cls_token):
        take("rel_pos", "none", "none of the recipe's relative biases, which go with a class token and no registers")


def is_windowed(backbone: Mapping[str, Any]) -> bool:
    """Whether a VisionTransformer of this config attends within windows, as ViTDet's."""
    return attends_in_windows(backbone.get("window_size", 0), backbone.get("rel_pos", "none"))


def obstacle(architecture: Architecture, windowed: bool, maps: bool, patch_size: int = 16) -> str:
    """Why a recipe cannot have this encoder, in a phrase; empty if it can. maps: whether it reads maps, in steps of patch_size pixels."""
    a = architecture
    if not isinstance(a, ViT):
        return ""
    if windowed and a.rel_pos in BIASES:
        return f"it attends within windows, and the encoder has {BIASES[a.rel_pos]}, made for whole images"
    if maps and a.patch_size not in (None, patch_size):
        resize = f"mimeval convert --patch-size {patch_size} resizes them"
        return f"its maps have steps of {patch_size} pixels, and the encoder's patches {a.patch_size} ({resize})"
    return ""
