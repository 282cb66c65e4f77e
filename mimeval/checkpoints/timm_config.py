"""The arguments of timm's classes for an architecture: what stands in config.json, and what a written file is rebuilt with."""

from __future__ import annotations

from typing import Any

from .formats.architecture import State, Swin


def timm_config(a: Any, state: State, heads: int) -> dict[str, Any]:
    """Of VisionTransformer, Eva (EVA-02) or SwinTransformer. state: of the file, by its names. heads: of a ViT."""
    sizes = dict(img_size=list(a.image_size), patch_size=a.patch_size, embed_dim=a.embed_dim)
    if isinstance(a, Swin):
        shape = dict(depths=list(a.depths), num_heads=list(a.num_heads), window_size=max(a.windows))
        return {**sizes, **shape, "mlp_ratio": a.mlp_ratio}
    kind = _eva if a.rel_pos == "rotary" else _vit
    return {**sizes, "depth": a.depth, "num_heads": heads, **kind(a, state, a.final_norm == "fc_norm")}


def _vit(a: Any, state: State, pooled: bool) -> dict[str, Any]:
    table = state.get("pos_embed")
    return dict(
        # Half a unit more, so that the product is not rounded down to one less.
        mlp_ratio=(round(a.embed_dim * a.mlp_ratio) + 0.5) / a.embed_dim,
        class_token=a.cls_token,
        reg_tokens=a.registers,
        no_embed_class=table is not None and table.shape[1] == a.grid[0] * a.grid[1],
        pos_embed="none" if table is None else "learn",
        init_values=1.0 if a.layer_scale else None,
        global_pool="avg" if pooled or not a.cls_token else "token",
        fc_norm=pooled,
        final_norm=a.final_norm is not None,
    )


def _eva(a: Any, state: State, pooled: bool) -> dict[str, Any]:
    return dict(
        # Of the gate alone.
        mlp_ratio=(round(a.embed_dim * a.mlp_ratio) / 2 + 0.5) / a.embed_dim,
        qkv_fused="blocks.0.attn.qkv.weight" in state,
        scale_mlp=a.mlp == "swiglu_norm",
        ref_feat_shape=list(a.rel_pos_grid),
        global_pool="avg" if pooled else "token",
        use_fc_norm=pooled,
    )
