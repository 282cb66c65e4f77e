"""The sizes of a ViT, and which of its settings go together; each check raises UserError in a sentence that names the key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mimeval.errors import UserError

from .positions import ROTARY, WINDOWED, attends_in_windows
from .settings import check_choice

SIZES: dict[str, dict[str, int]] = {
    "tiny": dict(embed_dim=192, depth=12, num_heads=3),
    "small": dict(embed_dim=384, depth=12, num_heads=6),
    "base": dict(embed_dim=768, depth=12, num_heads=12),
    "large": dict(embed_dim=1024, depth=24, num_heads=16),
    "huge": dict(embed_dim=1280, depth=32, num_heads=16),
}
OUT_TYPES = ("tokens", "cls", "mean", "maps")
POSITIONS = ("sincos", "learned", "none")
RELATIVE_POSITIONS = ("none", *WINDOWED, "bias", "shared_bias", *ROTARY)


def check_together(
    out_type: str,
    rel_pos: str,
    window_size: int,
    class_token: bool,
    registers: int,
    taps: Sequence[int] | None,
    tap_norm: bool,
) -> None:
    """Of VisionTransformer's settings, class_token as it will be: windows leave it out."""
    is_windowed = attends_in_windows(window_size, rel_pos)
    if is_windowed and (out_type not in ("maps", "mean") or rel_pos in ("bias", "shared_bias", *ROTARY)):
        raise UserError(
            f"windows and decomposed relative positions have no class token: expected out_type 'maps' or 'mean' "
            f"and rel_pos 'none', 'decomposed' or 'window_bias', found '{out_type}' and '{rel_pos}'; change these."
        )
    if not class_token and (out_type == "cls" or registers or rel_pos in ("bias", "shared_bias")):
        raise UserError("out_type 'cls', registers and biases go with a class token, found none; change class_token.")
    if registers and rel_pos not in ("none", *ROTARY):
        raise UserError(
            f"registers have no relative biases: expected rel_pos 'none' or a rotation, found '{rel_pos}'; set it to 'none'."
        )
    if rel_pos == "window_bias" and not window_size:
        raise UserError("rel_pos 'window_bias' has a table for windows, found window_size 0; set window_size.")
    if taps is not None and out_type not in ("tokens", "maps"):
        raise UserError(f"taps go with out_type 'tokens' or 'maps', found out_type '{out_type}'; leave taps out.")
    if tap_norm and taps is None and out_type != "maps":
        raise UserError("tap_norm is one norm for each tap, but there are no taps; give taps or leave it out.")


def resolve_size(arch: str | dict[str, Any]) -> dict[str, Any]:
    if isinstance(arch, str):
        check_choice("arch", arch, tuple(SIZES))
        return SIZES[arch]
    required = {"embed_dim", "depth", "num_heads"}
    if not required <= set(arch) <= required | {"mlp_ratio"}:
        raise UserError(
            f"arch needs embed_dim, depth, num_heads and may have mlp_ratio, found {sorted(arch)}; mend it."
        )
    if arch["embed_dim"] % arch["num_heads"]:
        raise UserError(f"arch.embed_dim must be a multiple of num_heads, found {dict(arch)}; change one of them.")
    return dict(arch)
