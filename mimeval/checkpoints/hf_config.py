"""The arguments of transformers' configurations for an architecture: what stands in config.json."""

from __future__ import annotations

from typing import Any

from .formats.architecture import Swin


def hf_config(a: Any, heads: int) -> dict[str, Any]:
    """Of ViTConfig, ViTMAEConfig, Dinov2Config, Dinov2WithRegistersConfig or SwinConfig. heads: of a ViT."""
    height, width = a.image_size
    sizes: dict[str, Any] = dict(
        image_size=height if height == width else [height, width],
        patch_size=a.patch_size,
        layer_norm_eps=a.norm_eps,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    if isinstance(a, Swin):
        shape = dict(embed_dim=a.embed_dim, depths=list(a.depths), num_heads=list(a.num_heads))
        return {**sizes, **shape, "window_size": max(a.windows), "mlp_ratio": a.mlp_ratio, "drop_path_rate": 0.0}
    sizes.update(hidden_size=a.embed_dim, num_hidden_layers=a.depth, num_attention_heads=heads)
    if not a.layer_scale:
        return {**sizes, "intermediate_size": round(a.embed_dim * a.mlp_ratio)}
    # The class computes the width of its MLP: mlp_ratio, and for SwiGLU two thirds of it, rounded up to a multiple of 8.
    sizes.update(mlp_ratio=a.mlp_ratio if a.mlp == "gelu" else 4, use_swiglu_ffn=a.mlp == "swiglu")
    if a.registers:
        sizes["num_register_tokens"] = a.registers
    return sizes
