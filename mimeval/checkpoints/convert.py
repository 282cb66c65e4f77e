"""From one family's file to another's, checked after writing: the same tensors, and the same features."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mimeval import __version__
from mimeval.errors import UserError
from mimeval.registry import MODELS

from . import libraries
from .build import backbone_settings
from .fit import fit
from .formats import Recognised, blamed, recognise
from .formats.architecture import Architecture, State, ViT
from .formats.base import BUFFER
from .formats.own import ARGUMENTS
from .formats.stored import backbone_config
from .load import check_finite, load_backbone, missing_tensors
from .rebuild import parameters_later
from .resize import at_size
from .state import Checkpoint, read_state, sha256, write_pth, write_safetensors
from .targets import laid_out

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
    verification_difference: float | None = None
    verification: str = ""
    """What the target's own library made of the file, or why it was not asked."""

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
        parts += [self.verification] if self.verification else []
        return "\n  ".join(parts)


def convert(
    src: str | os.PathLike,
    dst: str | os.PathLike,
    to: str = "mimeval",
    image_size: int | None = None,
    force: bool = False,
    trust_pickle: bool = False,
    switches: Sequence[str] = (),
    num_heads: int | None = None,
    window: int | None = None,
) -> ConversionReport:
    """Write the checkpoint `src` as family `to`, a `.pth` or `.safetensors` by dst's extension, and verify the file.

    image_size: pixels; positions are resampled to it. window: tokens to a side of a Swin's (or ViTDet's) windows, likewise.
    switches: see `load_backbone`. num_heads: to note in the file where it does not say. Raises UserError if `src` cannot be read
    or is of no known family, if `to` cannot hold its encoder, if `dst` exists (without force) or cannot be written.
    """
    target = Path(dst).expanduser()
    if target.suffix not in EXTENSIONS:
        raise UserError(f"{target}: the extension says how to write; expected {' or '.join(EXTENSIONS)}.")
    if target.is_dir() or (target.exists() and not force):
        raise UserError(f"{target} exists; choose another name{'' if target.is_dir() else ' or give --force'}.")

    checkpoint = read_state(src, trust_pickle)
    found = recognise(checkpoint, switches)
    if num_heads is not None:
        found.architecture = with_heads(src, found.architecture, num_heads)
    _check_whole(src, found)
    own, architecture, notes = at_size(src, found, image_size, window)
    layout = laid_out(src, to, found, own, architecture)
    family, state, architecture = layout.family, layout.state, layout.architecture
    homeless = layout.homeless + [name for name in found.state if found.family.own_name(name) is None]
    transformations = [*found.transformations, *notes, *layout.notes]
    provenance = _provenance(checkpoint, found, architecture, transformations)
    if target.suffix == ".safetensors":
        write_safetensors(target, state, provenance)
    else:
        contiguous = {name: tensor.contiguous().clone() for name, tensor in state.items()}
        write_pth(target, {family.containers[0]: contiguous, "meta": provenance})

    try:
        _compare_tensors(state, target)
        difference, skipped, seen = _compare_features(src, target, architecture, trust_pickle, switches)
        verification_difference, verification = (
            libraries.verify(family, state, architecture, *seen) if seen else (None, "")
        )
    except BaseException:  # Ctrl-C too
        target.unlink()  # a wrong file, or one that was not checked, must not be found under this name
        raise
    return ConversionReport(
        source=str(src),
        target=str(target),
        family=found.family.name,
        to=family.name,
        architecture=architecture,
        tensors=len(state),
        left_out=homeless,
        transformations=transformations,
        feature_difference=difference,
        features_skipped=skipped,
        verification_difference=verification_difference,
        verification=verification,
    )


def with_heads(src: str | os.PathLike, architecture: Architecture, num_heads: int) -> Architecture:
    """An architecture with the number of heads that someone says. UserError where it is none of a ViT of this width."""
    if not isinstance(architecture, ViT) or architecture.embed_dim is None:
        raise UserError(f"{src}: the number of heads is for a ViT, found {architecture}; leave --num-heads out.")
    if num_heads < 1 or architecture.embed_dim % num_heads:
        raise UserError(
            f"--num-heads {num_heads} does not divide the checkpoint's width {architecture.embed_dim}; change it."
        )
    return replace(architecture, num_heads=num_heads, heads_are_stored=True)


def _check_whole(src: str | os.PathLike, found: Recognised) -> None:
    # What nothing could load afterwards is not worth writing. Tensors too many are kept: they are another backbone's.
    encoder = found.encoder
    buffers = {name for name in encoder if found.family.reason_to_leave(f"backbone.{name}") == BUFFER}
    check_finite(src, {name: tensor for name, tensor in encoder.items() if name not in buffers})
    settings = backbone_settings(found.architecture, guess_heads=True)
    if settings is None:
        return
    with torch.device("meta"):
        backbone: nn.Module = MODELS.build(settings)
    target = backbone.state_dict()
    with blamed(src, found.family):
        fitted = fit(src, found, backbone, target)
    missing, _ = missing_tensors(found, fitted.encoder, target)
    missing = [name for name in missing if name not in fitted.fresh]
    if missing:
        raise UserError(
            f"{src} (family {found.family.name}): expected a whole encoder, {found.architecture}, found none of "
            f"{', '.join(missing[:3])} ({len(missing)} of {len(target)} tensors missing); get the whole file."
        )


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
    if isinstance(architecture, ViT) and architecture.heads_are_stored:
        known["num_heads"] = str(architecture.num_heads)
    facts = {key: value for key in ARGUMENTS if (value := getattr(architecture, key, None)) is not None}
    taps = backbone_config(checkpoint.meta).get("taps")
    known["facts"] = json.dumps(facts if taps is None else {**facts, "taps": taps}, sort_keys=True)
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
        and (torch.equal(a, b) or bool(torch.isclose(a, b, rtol=0, atol=0, equal_nan=a.is_floating_point()).all()))
    )


def _compare_features(
    src: str | os.PathLike, target: Path, architecture: Architecture, trust_pickle: bool, switches: Sequence[str]
) -> tuple[float | None, str, tuple[dict[str, Any], Tensor, Tensor] | None]:
    # Through the strict loader on both sides; any number of heads will do, as long as it is the same one. Also what the
    # library's class is compared with: settings of the backbone, image, last output.
    settings = backbone_settings(architecture, guess_heads=True)
    if settings is None:
        return None, "the backbone's architecture cannot be read from its shapes", None
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, *settings["img_size"], generator=generator)
    try:
        before = _features(settings, image, src, trust_pickle=trust_pickle, switches=switches)
        after = _features(settings, image, target)
    except UserError as error:
        return None, f"the backbone that the shapes tell does not take it ({error})", None
    difference = max((a - b).abs().max().item() for a, b in zip(before, after, strict=True))
    if not difference <= FEATURE_TOLERANCE:
        raise RuntimeError(f"{target}: its features differ by {difference} from those of {src}")
    return difference, "", (settings, image, after[-1])


def _features(settings: dict[str, Any], image: Tensor, path: str | os.PathLike, **reading: Any) -> tuple[Tensor, ...]:
    # With the file's own tensors as parameters, and with parameters of its own where the file does not have all of them.
    with parameters_later():
        backbone = MODELS.build(settings)
    load_backbone(backbone, path, **reading)
    if any(parameter.is_meta for parameter in backbone.parameters()):
        backbone = MODELS.build(settings)
        load_backbone(backbone, path, **reading)
    with torch.inference_mode():
        return backbone.float().eval()(image)
