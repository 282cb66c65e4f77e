"""The tensors of the backbone that an architecture is, by name and shape, without building it: that would take seconds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from mimeval.backbones.positions import attends_in_windows

from .formats.architecture import TABLE, Architecture, Swin, ViT

Shapes = dict[str, tuple[int, ...]]


class Sketch(nn.Module):
    """What `fit` and `compare` ask of a backbone: its state dict (meta tensors), its grid, windows and norms."""

    def __init__(self, architecture: Architecture, shapes: Shapes):
        super().__init__()
        self.grid = architecture.grid
        self.norm_after_pool = getattr(architecture, "norm_after_pool", False)
        self.norm = nn.LayerNorm(1, eps=architecture.norm_eps)
        self.cls_token = True if "cls_token" in shapes else None
        self._windows = getattr(architecture, "windows", ())
        self._shapes = shapes

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Tensor]:  # type: ignore[override]
        return {name: torch.empty(shape, device="meta") for name, shape in self._shapes.items()}

    def get_submodule(self, target: str) -> Any:
        side = self._windows[int(target.split(".")[1])]
        return SimpleNamespace(window_size=(side, side))


def sketch(architecture: Architecture) -> Sketch | None:
    """The backbone that build.py makes of an architecture, in outline; None where shapes do not tell."""
    a = architecture
    if a.embed_dim is None or a.patch_size is None or a.grid is None or a.mlp_ratio is None:
        return None
    if isinstance(a, ViT):
        return Sketch(a, _vit(a, a.embed_dim, a.grid, a.mlp_ratio))
    if isinstance(a, Swin) and all(a.windows) and all(a.num_heads):
        return Sketch(a, _swin(a, a.embed_dim, a.mlp_ratio))
    return None


def _vit(a: ViT, width: int, grid: tuple[int, int], ratio: float) -> Shapes:
    windowed = attends_in_windows(a.window_size, a.rel_pos)
    heads = a.num_heads or 1
    shapes: Shapes = {} if windowed or not a.cls_token else {"cls_token": (1, 1, width)}
    if a.registers:
        shapes["reg_token"] = (1, a.registers, width)
    if a.positions:
        shapes["pos_embed"] = (1, grid[0] * grid[1] + 1, width)  # the first is the class token's, if there is one
    shapes |= _linear("patch_embed.proj", (width, 3, a.patch_size or 0, a.patch_size or 0))
    if a.rel_pos == "rotary":
        shapes["rotation.grid"] = (2,)
    elif a.rel_pos == "rotary_centred":
        shapes["rotation.periods"] = (width // heads // 4,)
    offsets = (2 * grid[0] - 1) * (2 * grid[1] - 1) + 3
    side, whole = 2 * a.window_size - 1, a.rel_pos_grid or grid
    if a.rel_pos == "shared_bias":
        shapes[f"rel_pos_bias.{TABLE[5:]}"] = (offsets, heads)
    elif a.rel_pos == "window_bias":
        shapes["rel_pos_bias.window_table"] = (side**2, heads)
        shapes["rel_pos_bias.global_table"] = ((2 * whole[0] - 1) * (2 * whole[1] - 1), heads)
    for number in range(a.depth):
        block = f"blocks.{number}"
        shapes |= _block(block, width, round(width * ratio), a.mlp)
        if a.layer_scale:
            shapes |= {f"{block}.ls{branch}.gamma": (width,) for branch in (1, 2)}
        if a.rel_pos == "bias":
            shapes[f"{block}.{TABLE}"] = (offsets, heads)
        elif a.rel_pos == "decomposed":
            local = a.window_size and number not in a.global_blocks
            for axis, length in zip("hw", whole, strict=True):
                shapes[f"{block}.attn.rel_pos_{axis}"] = (side if local else 2 * length - 1, width // heads)
    norm = {"norm": "norm", "tap": "norm", "fc_norm": "fc_norm"}.get(a.final_norm or "")
    if norm and not (windowed and norm == "norm"):
        shapes |= _linear(norm, (width,))
    return shapes


def _swin(a: Swin, width: int, ratio: float) -> Shapes:
    shapes = _linear("patch_embed.proj", (width, 3, a.patch_size or 0, a.patch_size or 0))
    shapes |= _linear("patch_embed.norm", (width,))
    for stage, (depth, heads, window) in enumerate(zip(a.depths, a.num_heads, a.windows, strict=True)):
        if stage:
            shapes |= _linear(f"layers.{stage}.downsample.norm", (4 * width,))
            shapes[f"layers.{stage}.downsample.reduction.weight"] = (2 * width, 4 * width)
            width *= 2
        for number in range(depth):
            block = f"layers.{stage}.blocks.{number}"
            shapes |= _block(block, width, round(width * ratio), "gelu")
            shapes[f"{block}.{TABLE}"] = ((2 * window - 1) ** 2, heads)
    if a.final_norm is not None:
        shapes |= _linear("norm", (width,))
    return shapes


def _block(name: str, width: int, hidden: int, mlp: str) -> Shapes:
    inner = hidden if mlp == "gelu" else hidden // 2
    return {
        **_linear(f"{name}.norm1", (width,)),
        **_linear(f"{name}.attn.qkv", (3 * width, width)),
        **_linear(f"{name}.attn.proj", (width, width)),
        **_linear(f"{name}.norm2", (width,)),
        **_linear(f"{name}.mlp.fc1", (hidden, width)),
        **(_linear(f"{name}.mlp.norm", (inner,)) if mlp == "swiglu_norm" else {}),
        **_linear(f"{name}.mlp.fc2", (width, inner)),
    }


def _linear(name: str, shape: tuple[int, ...]) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
