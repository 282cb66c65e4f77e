"""From one family's file to another's, checked after writing: the same tensors, and the same features."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimeval import __version__
from mimeval.backbones import VisionTransformer
from mimeval.errors import UserError

from .formats import Recognised, family_named, recognise
from .formats.base import Architecture, State
from .load import check_finite, load_backbone, missing_tensors, resize_table
from .state import Checkpoint, read_state, sha256, write_pth, write_safetensors

EXTENSIONS = (".pth", ".safetensors")
FEATURE_TOLERANCE = 1e-5


@dataclass
class ConversionReport:
    """What a conversion wrote and what it compared; `feature_difference` is None where no backbone could be built."""

    source: str
    target: str
    family: str
    to: str
    architecture: Architecture
    tensors: int
    left_out: list[str]
    transformations: list[str] = field(default_factory=list)
    feature_difference: float | None = None
    features_skipped: str = ""

    def __str__(self) -> str:
        parts = [
            f"{self.target}: {self.tensors} tensors, {self.architecture}, "
            f"from {self.source} ({self.family} -> {self.to})"
        ]
        parts += self.transformations
        if self.left_out:
            parts.append(
                f"{len(self.left_out)} tensors have no place in {self.to} and were left out ({self.left_out[0]}, ...)"
            )
        if self.feature_difference is None:
            parts.append(f"tensors read back are equal; features not compared: {self.features_skipped}")
        else:
            parts.append(f"tensors read back are equal; features differ by at most {self.feature_difference:.1e}")
        return "\n  ".join(parts)


def convert(
    src: str | os.PathLike,
    dst: str | os.PathLike,
    to: str = "mimeval",
    image_size: int | None = None,
    force: bool = False,
    trust_pickle: bool = False,
) -> ConversionReport:
    """Write the checkpoint `src` as family `to`, a `.pth` or `.safetensors` by dst's extension, and verify the file.

    image_size: pixels; positions are resampled to it. Raises UserError if `src` cannot be read or is of no known
    family, if `to` cannot hold its encoder, if `dst` exists (without force) or cannot be written.
    """
    target = Path(dst).expanduser()
    family = family_named(to)
    if target.suffix not in EXTENSIONS:
        raise UserError(f"{target}: the extension says how to write; expected {' or '.join(EXTENSIONS)}.")
    if target.is_dir() or (target.exists() and not force):
        raise UserError(f"{target} exists; choose another name{'' if target.is_dir() else ' or give --force'}.")

    checkpoint = read_state(src, trust_pickle)
    found = recognise(checkpoint)
    _check_whole(src, found)
    own = {found.family.own_name(name) or name: tensor for name, tensor in found.state.items()}
    own, notes = _resize(own, found.architecture, image_size)
    architecture = found.architecture
    if notes and image_size is not None and architecture.patch_size is not None:
        side = image_size // architecture.patch_size
        architecture = replace(architecture, grid=(side, side))

    names = {name: family.their_name(name) for name in own}
    homeless = [name for name, theirs in names.items() if theirs is None]
    needed = [name for name in homeless if name.startswith("backbone.")]
    if needed:
        raise UserError(
            f"{src}: the format {to} has no place for {len(needed)} tensors of the encoder ({', '.join(needed[:4])}), "
            "without which its features would change; convert to mimeval instead."
        )
    state = family.write({theirs: own[name] for name, theirs in names.items() if theirs is not None})
    transformations = [*found.transformations, *notes]
    provenance = _provenance(checkpoint, found, architecture, transformations)
    if target.suffix == ".safetensors":
        write_safetensors(target, state, provenance)
    else:
        contiguous = {name: tensor.contiguous().clone() for name, tensor in state.items()}
        write_pth(target, {family.containers[0]: contiguous, "meta": provenance})

    try:
        _compare_tensors(state, target)
        difference, skipped = _compare_features(src, target, architecture, trust_pickle)
    except RuntimeError:
        target.unlink()  # a wrong file must not be found under this name
        raise
    return ConversionReport(
        source=str(src),
        target=str(target),
        family=found.family.name,
        to=to,
        architecture=architecture,
        tensors=len(state),
        left_out=homeless,
        transformations=transformations,
        feature_difference=difference,
        features_skipped=skipped,
    )


def _check_whole(src: str | os.PathLike, found: Recognised) -> None:
    # What nothing could load afterwards is not worth writing. Tensors too many are kept: they are another backbone's.
    encoder = found.family.encoder(found.state)
    check_finite(src, encoder)
    settings = backbone_settings(found.architecture)
    if settings is None:
        return
    with torch.device("meta"):
        target = VisionTransformer(**settings).state_dict()
    missing, _ = missing_tensors(found, encoder, target)
    if missing:
        raise UserError(
            f"{src} (family {found.family.name}): expected a whole encoder, {found.architecture}, found none of "
            f"{', '.join(missing[:3])} ({len(missing)} of {len(target)} tensors missing); get the whole file."
        )


def _resize(own: State, architecture: Architecture, image_size: int | None) -> tuple[State, list[str]]:
    if image_size is None:
        return own, []
    patch, old = architecture.patch_size, architecture.grid
    if patch is None or old is None:
        raise UserError("--image-size resamples positions, and this checkpoint has none on a known grid; leave it out.")
    if image_size <= 0 or image_size % patch:
        raise UserError(
            f"--image-size {image_size} is no multiple of the checkpoint's patch size {patch}; choose one that is."
        )
    new = (image_size // patch, image_size // patch)
    if new == old:
        return own, []
    own, notes = dict(own), []
    for name in ("backbone.pos_embed", "decoders.0.pos_embed"):
        if name in own:
            rows = own[name].shape[1] - old[0] * old[1]
            own[name] = resize_table(own[name], old, new, rows)
            notes.append(f"{name} resampled {old[0]}x{old[1]} -> {new[0]}x{new[1]} bicubic")
    return own, notes


def _provenance(
    checkpoint: Checkpoint, found: Recognised, architecture: Architecture, transformations: list[str]
) -> dict[str, str]:
    # Strings only: that is what a safetensors header holds.
    known = {
        "source": checkpoint.path.name,
        "source_sha256": sha256(checkpoint.path),
        "family": found.family.name,
        "tool": f"mimeval {__version__}",
        "transformations": "; ".join(transformations) or "none",
        "architecture": str(architecture),
    }
    if checkpoint.training is not None:
        known["training"] = json.dumps(checkpoint.training)
    if architecture.grid is not None:
        known["grid"] = f"{architecture.grid[0]}x{architecture.grid[1]}"
    if architecture.heads_are_stored:
        known["num_heads"] = str(architecture.num_heads)
    return known


def _compare_tensors(state: State, target: Path) -> None:
    written = recognise(read_state(target)).state
    differing = [n for n in state.keys() | written.keys() if not _equal(state.get(n), written.get(n))]
    if differing:
        raise RuntimeError(
            f"{target}: read back, {len(differing)} tensors differ from what was written: {differing[:4]}"
        )


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    # equal_nan through the bytes' meaning: a NaN that is written must come back as one.
    return (
        a is not None
        and b is not None
        and a.dtype == b.dtype
        and a.shape == b.shape
        and bool(torch.isclose(a, b, rtol=0, atol=0, equal_nan=a.is_floating_point()).all())
    )


def _compare_features(
    src: str | os.PathLike, target: Path, architecture: Architecture, trust_pickle: bool
) -> tuple[float | None, str]:
    # Through the strict loader on both sides; any number of heads will do, as long as it is the same one.
    settings = backbone_settings(architecture)
    if settings is None:
        return None, "the backbone's architecture cannot be read from its shapes"
    backbones = [VisionTransformer(**settings).eval() for _ in range(2)]
    try:
        load_backbone(backbones[0], src, trust_pickle=trust_pickle)
        load_backbone(backbones[1], target)
    except UserError as error:
        return None, f"a plain VisionTransformer does not take it ({error})"
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, *settings["img_size"], generator=generator)
    with torch.inference_mode():
        before, after = (backbone(image)[0] for backbone in backbones)
    difference = (before - after).abs().max().item()
    if not difference <= FEATURE_TOLERANCE:
        raise RuntimeError(f"{target}: its features differ by {difference} from those of {src}")
    return difference, ""


def backbone_settings(architecture: Architecture) -> dict[str, Any] | None:
    """Arguments of a plain VisionTransformer of this architecture, None where its shapes do not tell."""
    a = architecture
    width, patch, size = a.embed_dim, a.patch_size, a.image_size
    if width is None or patch is None or size is None or a.final_norm is None or a.mlp_ratio is None or not a.cls_token:
        return None
    heads = a.num_heads or next((h for h in (4, 3, 2) if width % h == 0), 1)
    return dict(
        arch=dict(embed_dim=width, depth=a.depth, num_heads=heads, mlp_ratio=a.mlp_ratio),
        patch_size=patch,
        img_size=size,
        out_type="mean" if a.final_norm == "fc_norm" else "tokens",
    )
