"""A checkpoint at another image size, with other windows or patches: its tables resampled as its own code does it."""

from __future__ import annotations

import math
import os
import re
from dataclasses import replace

import torch
import torch.nn.functional as F

from mimeval.errors import UserError
from mimeval.registry import MODELS

from .fit import Fitted, resample_tables, resampling, resize_table
from .formats import Recognised
from .formats.architecture import Architecture, Grid, State, Swin, ViT, read_architecture
from .settings import backbone_settings

PATCHES = "backbone.patch_embed.proj.weight"


def with_patches(src: str | os.PathLike, found: Recognised, patch_size: int) -> Recognised:
    """A checkpoint with patches of another size, its embedding resized bicubically (EVA, interpolate_patch_14to16.py).

    The grid stays, so that images become larger or smaller by as much; decoders, which predict patches of the old size, are left
    out. UserError for what has no such patches.
    """
    weight, old = found.own.get(PATCHES), found.architecture
    if patch_size < 1:
        raise UserError(f"--patch-size {patch_size}: expected pixels to a side, 1 or more.")
    if not isinstance(old, ViT) or weight is None or weight.dim() != 4:
        raise UserError(
            f"{src}: expected the patches of a ViT for --patch-size {patch_size}, found {old}; leave it out."
        )
    if patch_size == old.patch_size:
        return found
    resized = F.interpolate(weight.float(), size=(patch_size, patch_size), mode="bicubic", align_corners=False)
    decoders = [name for name in found.own if name.startswith("decoders.")]
    own = {name: tensor for name, tensor in found.own.items() if name not in decoders}
    notes = [f"patches resized {old.patch_size} -> {patch_size} pixels bicubic, for images of another size by as much"]
    notes += [f"{len(decoders)} tensors of decoders left out, which predict the old patches"] if decoders else []
    return replace(
        found,
        own={**own, PATCHES: resized.to(weight.dtype)},
        architecture=replace(old, patch_size=patch_size, decoder_dim=None, decoder_depth=0),
        transformations=[*found.transformations, *notes],
    )


def at_size(
    src: str | os.PathLike, found: Recognised, image_size: int | None = None, window: int | None = None
) -> tuple[State, Architecture, list[str]]:
    """The own state of a checkpoint for images of image_size pixels and windows of `window` tokens to a side (None: as they are).

    Returns the state, its architecture, and a sentence for each table that changed. A Swin stage whose map is smaller than the
    window keeps windows of the size of its map. Raises UserError where the size does not fit, or there is nothing to resample.
    """
    old = found.architecture
    wanted = old if window is None else _with_windows(src, old, window)
    if image_size is not None:
        wanted = _with_images(wanted, image_size)
    if wanted == old:
        return found.own, old, []
    settings = backbone_settings(wanted, guess_heads=True)
    if settings is None:
        raise UserError(f"{src}: its architecture cannot be told from the file ({old}); leave sizes out.")
    with torch.device("meta"):
        backbone = MODELS.build(settings)
    fitted = Fitted(dict(found.encoder))
    resample_tables(src, found, backbone, backbone.state_dict(), fitted)
    own = {**found.own, **{f"backbone.{name}": tensor for name, tensor in fitted.encoder.items()}}
    decoders, decoder_notes = _decoders(found, wanted.grid)
    if isinstance(wanted, Swin):
        now = read_architecture(fitted.encoder)
        wanted = replace(wanted, windows=now.windows if isinstance(now, Swin) else wanted.windows)
    size = "" if wanted.image_size is None else "made for images of {}x{}".format(*wanted.image_size)
    notes = [*fitted.notes, *decoder_notes]
    return {**own, **decoders}, wanted, notes or [size]


def _with_images(wanted: Architecture, image_size: int) -> Architecture:
    patch = wanted.patch_size
    if patch is None or wanted.grid is None:
        raise UserError("--image-size resamples positions, and this checkpoint has none on a known grid; leave it out.")
    if image_size <= 0 or image_size % patch:
        raise UserError(
            f"--image-size {image_size} is no multiple of the checkpoint's patch size {patch}; choose one that is."
        )
    return replace(wanted, grid=(image_size // patch, image_size // patch))


def _with_windows(src: str | os.PathLike, old: Architecture, window: int) -> Architecture:
    if window < 1:
        raise UserError(f"--window {window}: expected tokens to a side, 1 or more.")
    if isinstance(old, Swin):
        return replace(old, windows=(window,) * len(old.windows))
    if isinstance(old, ViT) and old.window_size:
        return replace(old, window_size=window)
    raise UserError(f"{src}: expected windows for --window, found {old}, which has none; leave it out.")


def _decoders(found: Recognised, new: Grid | None) -> tuple[State, list[str]]:
    """Positions of the decoders, which are on the encoder's grid."""
    old, way, resized = found.architecture.grid, resampling(found)[0], {}
    if old is None or new is None or old == new:
        return {}, []
    for name, table in found.own.items():
        if re.fullmatch(r"decoders\.\d+\.pos_embed", name) and 0 <= (rows := table.shape[1] - math.prod(old)) <= 1:
            resized[name] = resize_table(table, old, new, rows, way)
    return resized, [f"{name} resampled {old[0]}x{old[1]} -> {new[0]}x{new[1]} {way}" for name in resized]
