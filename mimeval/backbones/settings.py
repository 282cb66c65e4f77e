"""Checks of settings that both backbones share; each raises UserError in a sentence that names the key."""

from __future__ import annotations

from collections.abc import Sequence

from timm.layers import to_2tuple

from mimeval.errors import UserError

from .positions import Grid


def check_choice(key: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UserError(f"{key} must be one of {', '.join(choices)}, found '{value}'; choose one of them.")


def token_grid(pixels: int | Grid, patch_size: int) -> Grid:
    height, width = to_2tuple(pixels)
    if height % patch_size or width % patch_size or not height * width:
        raise UserError(f"img_size must be a multiple of patch_size {patch_size}, found {pixels}; change one of them.")
    return height // patch_size, width // patch_size


def resolve_blocks(key: str, blocks: Sequence[int], depth: int) -> tuple[int, ...]:
    resolved = tuple(i + depth if i < 0 else i for i in blocks)
    if any(not 0 <= i < depth for i in resolved) or len(set(resolved)) != len(resolved):
        raise UserError(f"{key} must be different blocks of 0 to {depth - 1}, found {list(blocks)}; change {key}.")
    return resolved
