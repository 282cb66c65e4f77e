"""From one family's file to another's, checked after writing: the same tensors, and the same features."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from mimeval import __version__
from mimeval.errors import UserError
from mimeval.registry import MODELS

from . import libraries
from .containers import unwrap
from .fit import fit
from .formats import Recognised, blamed, other_shapes_blamed, recognise
from .formats.architecture import Architecture, State, ViT
from .formats.base import BUFFER, Family
from .formats.own import ARGUMENTS
from .formats.stored import backbone_config
from .load import check_finite, load_recognised, missing_tensors
from .reading import Reader
from .rebuild import parameters_later
from .resize import at_size, with_patches
from .settings import backbone_settings
from .state import Checkpoint, describe_state, read_state, sha256
from .targets import Layout, laid_out
from .writing import new_checkpoint, save_pth, save_safetensors

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


@dataclass(frozen=True)
class Features:
    """Of a backbone with these settings for this image."""

    settings: dict[str, Any]
    image: Tensor
    outputs: tuple[Tensor, ...]


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
    patch_size: int | None = None,
) -> ConversionReport:
    """Write the checkpoint `src` as family `to`, a `.pth` or `.safetensors` by dst's extension, and verify the file.

    image_size: pixels; positions are resampled to it. window: tokens to a side of a Swin's (or ViTDet's) windows, likewise.
    patch_size: pixels; the embedding of a ViT's patches is resized (resize.py).
    switches: see `load_backbone`. num_heads: to note in the file where it does not say. Raises UserError if `src` cannot be read
    or is of no known family, if `to` cannot hold its encoder, if `dst` exists (without force) or cannot be written. The file has
    its name only when it is verified.
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
    with other_shapes_blamed(src, found.family):
        if patch_size is not None:
            found = with_patches(src, found, patch_size)
        _check_whole(checkpoint, found)
        own, architecture, notes = at_size(src, found, image_size, window)
        layout = laid_out(src, to, found, own, architecture)
    family, architecture = layout.family, layout.architecture
    report = ConversionReport(
        source=str(src),
        target=str(target),
        family=found.family.name,
        to=family.name,
        architecture=architecture,
        tensors=len(layout.state),
        left_out=layout.homeless + [name for name in found.state if found.family.own_name(name) is None],
        transformations=[*found.transformations, *notes, *layout.notes],
    )
    with new_checkpoint(target) as temporary:
        provenance = _provenance(checkpoint, found, architecture, report.transformations)
        _write(temporary, target.suffix, layout, provenance, checkpoint.let_go)
        _compare_tensors(layout.state, temporary, target, checkpoint.let_go)
        expected, report.features_skipped = _features_of(checkpoint, found, architecture)
        # All tensors of the source are let go: one file at a time is mapped into memory.
        del checkpoint, found, own, layout
        if expected is not None:
            _compare_features(expected, temporary, family, report)
    return report


def _write(path: Path, suffix: str, layout: Layout, provenance: dict[str, str], written: Callable[[], object]) -> None:
    if suffix == ".safetensors":
        save_safetensors(path, layout.state, provenance, written)
    else:
        state = {name: _alone(tensor) for name, tensor in layout.state.items()}
        save_pth(path, {layout.family.containers[0]: state, "meta": provenance}, written)


def _alone(tensor: Tensor) -> Tensor:
    # torch.save writes the whole of the memory that a tensor is a view of.
    whole = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes
    return tensor.detach() if whole else tensor.detach().contiguous().clone()


def with_heads(src: str | os.PathLike, architecture: Architecture, num_heads: int) -> Architecture:
    """An architecture with the number of heads that someone says. UserError where it is none of a ViT of this width."""
    if not isinstance(architecture, ViT) or architecture.embed_dim is None:
        raise UserError(f"{src}: the number of heads is for a ViT, found {architecture}; leave --num-heads out.")
    if num_heads < 1 or architecture.embed_dim % num_heads:
        raise UserError(
            f"--num-heads {num_heads} does not divide the checkpoint's width {architecture.embed_dim}; change it."
        )
    return replace(architecture, num_heads=num_heads, heads_are_stored=True)


def _check_whole(checkpoint: Checkpoint, found: Recognised) -> None:
    # What nothing could load afterwards is not worth writing. Tensors too many are kept: they are another backbone's.
    src, encoder = checkpoint.path, found.encoder
    buffers = {name for name in encoder if found.family.reason_to_leave(f"backbone.{name}") == BUFFER}
    check_finite(src, {name: tensor for name, tensor in encoder.items() if name not in buffers}, checkpoint.let_go)
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
        "normalisation": json.dumps(found.normalisation),
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


def _compare_tensors(state: State, file: Path, target: Path, compared: Callable[[], object]) -> None:
    written, _ = unwrap(describe_state(file).state)
    differing = []
    for name in state.keys() | written.keys():
        differing += [] if _equal(state.get(name), written.get(name)) else [name]
        compared()
    if differing:
        raise RuntimeError(
            f"{target}: read back, {len(differing)} tensors differ from what was written: {differing[:4]}"
        )


def _equal(a: Tensor | None, stored: Any) -> bool:
    if a is None or stored is None:
        return False
    b = Reader(copy=True).tensor(stored)  # one at a time
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        # equal_nan through the bytes' meaning: a NaN that is written must come back as one.
        and (torch.equal(a, b) or bool(torch.isclose(a, b, rtol=0, atol=0, equal_nan=a.is_floating_point()).all()))
    )


def _features_of(checkpoint: Checkpoint, found: Recognised, architecture: Architecture) -> tuple[Features | None, str]:
    """What the source gives for a fixed image, or why nothing. Any number of heads will do, as long as it is the same one."""
    settings = backbone_settings(architecture, guess_heads=True)
    if settings is None:
        return None, "the backbone's architecture cannot be read from its shapes"
    image = torch.randn(1, 3, *settings["img_size"], generator=torch.Generator().manual_seed(0))
    try:
        with other_shapes_blamed(checkpoint.path, found.family):
            outputs = _features(settings, image, checkpoint, found)
    except UserError as error:
        return None, f"the backbone that the shapes tell does not take it ({error})"
    if not all(bool(output.isfinite().all()) for output in outputs):
        return None, "those of the source are not finite, though its weights are: they overflow"
    return Features(settings, image, outputs), ""


def _compare_features(expected: Features, file: Path, family: Family, report: ConversionReport) -> None:
    """Our backbone, through the strict loader, and the library's own class, both from the file that was written."""
    written = read_state(file)
    found = recognise(written)
    try:
        after = _features(expected.settings, expected.image, written, found)
    except UserError as error:
        report.features_skipped = f"the backbone that the shapes tell does not take it ({error})"
        return
    difference = max((a - b).abs().max().item() for a, b in zip(expected.outputs, after, strict=True))
    if not difference <= FEATURE_TOLERANCE:
        raise RuntimeError(f"{report.target}: its features differ by {difference} from those of {report.source}")
    report.feature_difference = difference
    with _sparing(written):
        report.verification_difference, report.verification = libraries.verify(
            family, found.state, report.architecture, expected.settings, expected.image, after[-1]
        )


def _features(settings: dict[str, Any], image: Tensor, checkpoint: Checkpoint, found: Recognised) -> tuple[Tensor, ...]:
    # With the file's own tensors as parameters, and with parameters of its own where the file does not have all of them.
    with parameters_later():
        backbone = MODELS.build(settings)
    load_recognised(backbone, checkpoint, found)
    if any(parameter.is_meta for parameter in backbone.parameters()):
        backbone = MODELS.build(settings)
        load_recognised(backbone, checkpoint, found)
    with torch.inference_mode(), _sparing(checkpoint):
        return backbone.float().eval()(image)


@contextmanager
def _sparing(checkpoint: Checkpoint) -> Iterator[None]:
    """Modules run inside give back the memory of what is mapped from the checkpoint's file, each when it is done."""
    hook = register_module_forward_hook(checkpoint.let_go)
    try:
        yield
    finally:
        hook.remove()
