"""From a checkpoint's encoder to a backbone's: what depends on both. Each step says what it did in a sentence."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimeval.backbones.positions import resample_bias_table, resample_offsets, resample_positions
from mimeval.errors import UserError

from .formats import Recognised
from .formats.architecture import TABLE, Grid, State

SHARED = "rel_pos_bias.relative_position_bias_table"


@dataclass
class Fitted:
    """The encoder's tensors as the backbone wants them.

    notes: a sentence for each change. used: names of the checkpoint's encoder that went into others. fresh: tensors of the
    backbone that keep their initial values, with the reason, beside what the family declares.
    """

    encoder: State
    notes: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    fresh: dict[str, str] = field(default_factory=dict)


def fit(path: str | os.PathLike, found: Recognised, backbone: nn.Module, target: State) -> Fitted:
    """Bring an encoder to the backbone's grid, windows, tables and norm. Raises UserError where a grid is not known."""
    fitted = Fitted(dict(found.encoder))
    _norm(found, backbone, target, fitted)
    _share_tables(found, target, fitted)
    resample_tables(path, found, backbone, target, fitted)
    _precision(target, fitted)
    _epsilon(found, backbone, fitted)
    return fitted


def resample_tables(
    path: str | os.PathLike, found: Recognised, backbone: nn.Module, target: State, fitted: Fitted
) -> None:
    """Every table of positions in fitted.encoder at the grid and the windows of the backbone; as `fit`."""
    positions, tables = resampling(found, backbone)
    _positions(path, found, backbone, target, fitted, positions)
    _bias_tables(found, backbone, target, fitted, tables)
    _window_tables(backbone, target, fitted, tables)
    _decomposed_tables(target, fitted)


def resampling(found: Recognised, backbone: nn.Module | None = None) -> tuple[str, str]:
    """How this file's positions and tables get to another grid: as asked by a switch, else as its own code does it, else as the
    backbone's config says."""
    a, switches = found.architecture, found.switches
    positions: str = getattr(backbone, "pos_resample", "bicubic")
    tables: str = getattr(backbone, "table_resample", "bicubic")
    return switches.get("positions", a.pos_resample or positions), switches.get("tables", a.table_resample or tables)


def _norm(found: Recognised, backbone: nn.Module, target: State, fitted: Fitted) -> None:
    if getattr(found.architecture, "norm_is_fc_norm", False) and "fc_norm.weight" in target:
        if "fc_norm.weight" not in fitted.encoder and "norm.weight" in fitted.encoder:
            fitted.encoder.update({f"fc_norm.{kind}": fitted.encoder[f"norm.{kind}"] for kind in ("weight", "bias")})
            fitted.used.add("norm")
            fitted.notes.append("norm taken for fc_norm, as its own fine-tuning does")
    # Pre-trained with taps, the last block's tokens have a norm, but no backbone's name.
    if "norm.weight" not in target or "norm.weight" in fitted.encoder:
        return
    source = found.family.last_norm(found.own, found.meta)
    if source is None or f"{source}.weight" not in found.own:
        return
    if getattr(backbone, "norm_after_pool", False):
        reason = "a norm of pooled features starts anew, as officially"
        fitted.fresh.update({f"norm.{kind}": reason for kind in ("weight", "bias")})
        return
    for kind in ("weight", "bias"):
        fitted.encoder[f"norm.{kind}"] = found.own[f"{source}.{kind}"]
    fitted.used.add(source.removeprefix("backbone."))
    fitted.notes.append(f"{source}, of the last block, taken for norm")


def _share_tables(found: Recognised, target: State, fitted: Fitted) -> None:
    names = [name for name in target if re.fullmatch(rf"blocks\.\d+\.{re.escape(TABLE)}", name)]
    if SHARED not in fitted.encoder or SHARED in target or not names:
        return
    shared = fitted.encoder.pop(SHARED)
    fitted.encoder.update({name: shared.clone() for name in names})
    fitted.used.add(SHARED)
    fitted.notes.append(f"the shared table of relative biases copied to {len(names)} blocks")


def _grid(backbone: nn.Module) -> Grid | None:
    grid = getattr(backbone, "grid", None)
    return None if grid is None else (int(grid[0]), int(grid[1]))


def _positions(
    path: str | os.PathLike, found: Recognised, backbone: nn.Module, target: State, fitted: Fitted, way: str
) -> None:
    table, own, new = fitted.encoder.get("pos_embed"), target.get("pos_embed"), _grid(backbone)
    if table is None or own is None or new is None or table.shape[-1] != own.shape[-1]:
        return
    old = found.architecture.grid
    if table.shape == own.shape and old in (None, new):
        return
    if old is None:
        raise UserError(
            f"{path}: pos_embed has {table.shape[1]} rows, which is no square grid, and the file does not say which "
            "one it is; give the config's backbone the image size of pre-training."
        )
    rows, kept = table.shape[1] - old[0] * old[1], own.shape[1] - new[0] * new[1]
    fitted.encoder["pos_embed"] = resize_table(table, old, new, kept, way)
    if old != new:
        fitted.notes.append(f"pos_embed resampled {old[0]}x{old[1]} -> {new[0]}x{new[1]} {way}")
    if rows < kept and getattr(backbone, "cls_token", None) is not None:
        fitted.notes.append("pos_embed given a row of zeros for the class token, which has no position in the file")


def resize_table(table: Tensor, old: Grid, new: Grid, prefix_rows: int = 1, way: str = "bicubic") -> Tensor:
    """Positions [1, prefix + h * w, D] at another grid, with `prefix_rows` rows before the patches (zeros if new)."""
    rows = table.shape[1] - old[0] * old[1]
    prefix = table[:, :rows] if rows >= prefix_rows else table.new_zeros(1, prefix_rows, table.shape[-1])
    return torch.cat([prefix[:, :prefix_rows], resample_positions(table[:, rows:], old, new, way)], dim=1)


def _bias_tables(found: Recognised, backbone: nn.Module, target: State, fitted: Fitted, way: str) -> None:
    """BEiT's tables of a ViT, with three rows for the class token."""
    old, new = found.architecture.grid, _grid(backbone)
    names = [name for name in target if name == SHARED or re.fullmatch(rf"blocks\.\d+\.{re.escape(TABLE)}", name)]
    names = [name for name in names if name in fitted.encoder]
    if old is None or new is None or old == new:
        return
    wanted = (2 * old[0] - 1) * (2 * old[1] - 1) + 3
    names = [name for name in names if len(fitted.encoder[name]) == wanted]
    for name in names:
        fitted.encoder[name] = resample_bias_table(fitted.encoder[name], old, new, way)
    if names:
        fitted.notes.append(_resized("relative biases", names, old, new, way))


def _window_tables(backbone: nn.Module, target: State, fitted: Fitted, way: str) -> None:
    """Swin's tables, one for each block, at the windows of the backbone."""
    changes: dict[tuple[int, Grid], list[str]] = {}
    for name in target:
        if not re.fullmatch(rf"layers\.\d+\.blocks\.\d+\.{re.escape(TABLE)}", name) or name not in fitted.encoder:
            continue
        table = fitted.encoder[name]
        block: Any = backbone.get_submodule(name.removesuffix(f".{TABLE}"))
        side, window = math.isqrt(len(table)), block.window_size
        new = (int(window[0]), int(window[1]))
        if table.shape == target[name].shape or side**2 != len(table) or table.shape[1] != target[name].shape[1]:
            continue
        old = ((side + 1) // 2, (side + 1) // 2)
        fitted.encoder[name] = resample_offsets(table, old, new, way).flatten(1).t().contiguous()
        changes.setdefault((old[0], new), []).append(name)
    for (side, new), names in changes.items():
        fitted.notes.append(_resized("tables of windows", names, (side, side), new, way))


def _decomposed_tables(target: State, fitted: Fitted) -> None:
    names = []
    for name in target:
        table = fitted.encoder.get(name)
        if (
            table is None
            or not re.fullmatch(r"blocks\.\d+\.attn\.rel_pos_[hw]", name)
            or table.shape == target[name].shape
        ):
            continue
        if table.shape[1] == target[name].shape[1]:
            resized = F.interpolate(table.float().t()[None], size=len(target[name]), mode="linear", align_corners=False)
            fitted.encoder[name] = resized[0].t().to(table.dtype)
            names.append(name)
    if names:
        fitted.notes.append(f"decomposed relative positions of {len(names)} tables resampled, linear")


def _precision(target: State, fitted: Fitted) -> None:
    halves = {
        str(t.dtype).removeprefix("torch.") for n, t in fitted.encoder.items() if n in target and t.dtype.itemsize < 4
    }
    if halves and any(tensor.dtype.itemsize >= 4 for tensor in target.values()):
        fitted.notes.append(f"{' and '.join(sorted(halves))} up-cast to the backbone's float32")


def _epsilon(found: Recognised, backbone: nn.Module, fitted: Fitted) -> None:
    # No error, since LocalMIM's own fine-tuning mixes two; but nobody sees it in the weights.
    ours = next((module.eps for module in backbone.modules() if isinstance(module, nn.LayerNorm)), None)
    theirs = found.architecture.norm_eps
    if found.architecture.kind and ours is not None and ours != theirs:
        fitted.notes.append(f"epsilon of LayerNorm is {ours:g} in the backbone, {theirs:g} in pre-training")


def _resized(what: str, names: list[str], old: Grid, new: Grid, way: str) -> str:
    return f"{what} ({len(names)}) resampled {old[0]}x{old[1]} -> {new[0]}x{new[1]} {way}"
