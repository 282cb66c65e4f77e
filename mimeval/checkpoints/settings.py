"""The config of a backbone that an architecture is."""

from __future__ import annotations

from typing import Any

from mimeval.backbones.positions import attends_in_windows

from .formats.architecture import Architecture, Swin, ViT


def backbone_settings(architecture: Architecture, guess_heads: bool = False) -> dict[str, Any] | None:
    """The config of a backbone of this architecture at the size of pre-training, None where it cannot be told.

    It gives the features that the checkpoint is known by: final tokens ('tokens'), their mean through fc_norm or Swin's norm
    ('mean'), or un-normed maps ('maps') where there is no norm. guess_heads: any number of heads, where only the shapes matter.
    """
    if isinstance(architecture, ViT):
        return _vit(architecture, guess_heads)
    return _swin(architecture) if isinstance(architecture, Swin) else None


def _vit(a: ViT, guess_heads: bool) -> dict[str, Any] | None:
    if a.embed_dim is None or a.patch_size is None or a.image_size is None or a.mlp_ratio is None:
        return None
    heads = a.num_heads or (next((h for h in (4, 3, 2) if a.embed_dim % h == 0), 1) if guess_heads else None)
    if heads is None:
        return None
    windowed = attends_in_windows(a.window_size, a.rel_pos)
    out_type = {"norm": "tokens", "tap": "tokens", "fc_norm": "mean"}.get(a.final_norm or "", "maps")
    settings: dict[str, Any] = dict(
        type="mimeval.VisionTransformer",
        arch=dict(embed_dim=a.embed_dim, depth=a.depth, num_heads=heads, mlp_ratio=mlp_ratio(a.embed_dim, a.mlp_ratio)),
        patch_size=a.patch_size,
        img_size=a.image_size,
        out_type="maps" if windowed and out_type == "tokens" else out_type,
    )
    plain = VISION_DEFAULTS
    facts = dict(
        pos_embed="sincos" if a.positions else "none",
        rel_pos=a.rel_pos,
        window_size=a.window_size,
        global_blocks=tuple(a.global_blocks),
        init_values=1.0 if a.layer_scale else None,
        k_bias=a.k_bias,
        class_token=a.cls_token or windowed,
        registers=a.registers,
        mlp=a.mlp,
        norm_eps=a.norm_eps,
        pos_resample=a.pos_resample,
        table_resample=a.table_resample,
    )
    settings.update({key: value for key, value in facts.items() if value is not None and value != plain[key]})
    if a.rel_pos_grid is not None:
        settings["rel_pos_size"] = (a.rel_pos_grid[0] * a.patch_size, a.rel_pos_grid[1] * a.patch_size)
    return settings


# VisionTransformer's own.
VISION_DEFAULTS: dict[str, Any] = dict(
    patch_size=16,
    pos_embed="sincos",
    rel_pos="none",
    window_size=0,
    global_blocks=(),
    init_values=None,
    k_bias=True,
    class_token=True,
    registers=0,
    mlp="gelu",
    norm_eps=1e-6,
    pos_resample="bicubic",
    table_resample="bicubic",
)


def _swin(a: Swin) -> dict[str, Any] | None:
    if a.embed_dim is None or a.patch_size is None or a.image_size is None or a.mlp_ratio is None:
        return None
    if not all(a.windows) or not all(a.num_heads):
        return None
    settings: dict[str, Any] = dict(
        type="mimeval.SwinTransformer",
        arch=dict(
            embed_dim=a.embed_dim,
            depths=a.depths,
            num_heads=a.num_heads,
            mlp_ratio=mlp_ratio(a.embed_dim, a.mlp_ratio),
        ),
        patch_size=a.patch_size,
        img_size=a.image_size,
        window_size=max(a.windows),
        out_type="maps" if a.final_norm is None else "mean",
        norm_eps=a.norm_eps,
    )
    if a.norm2_eps is not None:
        settings["norm2_eps"] = a.norm2_eps
    if a.norm_after_pool:
        settings["norm_after_pool"] = True
    return settings


def mlp_ratio(width: int, ratio: float) -> float:
    """A ratio whose product with the width is not rounded down to one less than the width of the MLP."""
    whole = round(width * ratio)
    return ratio if int(width * ratio) == whole else ratio + 0.5 / width
