"""The arguments of transformers' configurations for an architecture: what stands in config.json."""

from __future__ import annotations

from typing import Any

from mimeval.errors import UserError

from .formats.architecture import Swin


def hf_config(a: Any, heads: int) -> dict[str, Any]:
    """Of ViTConfig, ViTMAEConfig, Dinov2Config, Dinov2WithRegistersConfig or SwinConfig. heads: of a ViT.

    Raises UserError where the class cannot have these sizes.
    """
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
    # The class computes the width of its MLP from a whole number, for SwiGLU two thirds of it in multiples of 8.
    gated = a.mlp == "swiglu"
    ratio = 4 if gated else round(a.mlp_ratio)
    inner = (int(a.embed_dim * ratio * 2 / 3) + 7) // 8 * 16 if gated else a.embed_dim * ratio
    if inner != round(a.embed_dim * a.mlp_ratio):
        raise UserError(
            f"Dinov2Config: expected an MLP of {inner} for the width {a.embed_dim}, found {round(a.embed_dim * a.mlp_ratio)}, which "
            "transformers' class cannot be; convert to timm instead."
        )
    sizes.update(mlp_ratio=ratio, use_swiglu_ffn=gated)
    if a.registers:
        sizes["num_register_tokens"] = a.registers
    return sizes
