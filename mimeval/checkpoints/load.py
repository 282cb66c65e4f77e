"""Loading a checkpoint into a backbone: each tensor fits, or is declared, or is waived by name, or is an error."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import update_init_info
from torch import Tensor, nn

from mimeval.backbones.positions import resample_positions
from mimeval.errors import UserError
from mimeval.registry import WEIGHT_INITIALIZERS

from .formats import Recognised, recognise
from .formats.base import Architecture, Grid, State, vit_architecture
from .state import read_state

WAIVABLE = ("missing", "unexpected", "shape")
SHOWN = 5


@dataclass
class LoadReport:
    """What was loaded into a backbone, and everything that was not."""

    path: str
    family: str
    container: str
    architecture: Architecture
    loaded: list[str]
    """Names of the backbone's tensors that came from the file."""
    parameters: int
    """Their values, counted; `total_parameters` is the backbone's."""
    total_tensors: int
    total_parameters: int
    fresh: dict[str, str] = field(default_factory=dict)
    """Tensors of the backbone that keep their initial values, with the reason."""
    left_over: dict[str, str] = field(default_factory=dict)
    """Tensors of the file that were not used, with the reason."""
    transformations: list[str] = field(default_factory=list)
    waived: dict[str, list[str]] = field(default_factory=dict)
    """Waiver -> the names it let pass."""
    training: dict[str, Any] | None = None
    """How the file was pre-trained, where it says so: config, command, git, hardware, images_seen, wall_s."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        parts = [
            f"{self.path}: family {self.family}, {self.architecture}, "
            f"{len(self.loaded)} of {self.total_tensors} tensors ({self.parameters / 1e6:.2f} M parameters) loaded"
        ]
        parts += [
            f"{label} {_grouped(names)}" for label, names in (("fresh", self.fresh), ("left", self.left_over)) if names
        ]
        parts += self.transformations
        parts += [f"WAIVED {waiver} ({len(names)} tensors)" for waiver, names in self.waived.items()]
        return "; ".join(parts)


class Waivers:
    """`KIND:PATTERN`, KIND one of missing, unexpected, shape; PATTERN a shell pattern over names: `missing:norm.*`.

    missing: tensors of the backbone that the file may lack. unexpected: tensors of the file that may be ignored.
    shape: tensors of the backbone that keep their initial values where the file's have another shape.
    """

    def __init__(self, waivers: Sequence[str] = ()):
        self.waivers = tuple(waivers)
        self.used: dict[str, list[str]] = {}
        for waiver in self.waivers:
            kind, _, pattern = waiver.partition(":")
            if kind not in WAIVABLE or not pattern:
                raise UserError(
                    f"The waiver {waiver!r} is not understood: write KIND:PATTERN with KIND one of "
                    f"{', '.join(WAIVABLE)}, for example 'missing:norm.*'."
                )

    def remaining(self, kind: str, names: Sequence[str]) -> list[str]:
        """The names that no waiver of this kind lets pass."""
        left = []
        for name in names:
            for waiver in self.waivers:
                if waiver.startswith(f"{kind}:") and fnmatchcase(name, waiver.partition(":")[2]):
                    self.used.setdefault(waiver, []).append(name)
                    break
            else:
                left.append(name)
        return left


def load_backbone(
    backbone: nn.Module, path: str | os.PathLike, waive: Sequence[str] = (), trust_pickle: bool = False
) -> LoadReport:
    """Load a checkpoint of any known family into a backbone, strictly; the report is kept at `backbone.load_report`.

    waive: see `Waivers`. Raises UserError, and leaves the backbone as it was, if the file cannot be read, belongs to no
    known family or to another architecture, lacks a tensor, has one too many, or holds values that are not finite.
    """
    waivers = Waivers(waive)
    checkpoint = read_state(path, trust_pickle)
    found = recognise(checkpoint)
    target = dict(backbone.state_dict())
    if not found.family.encoder(found.state).keys() & target.keys():
        raise UserError(_no_match(path, found, target))
    _check_architecture(path, found.architecture, backbone, target)

    encoder, notes = _resample(path, found, backbone, target)
    problems: dict[str, list[str]] = {}
    missing, fresh = missing_tensors(found, encoder, target)
    problems["missing"] = waivers.remaining("missing", missing)
    unexpected, left_over = _unexpected(found, target)
    problems["unexpected"] = waivers.remaining("unexpected", unexpected)
    shared = [name for name in target if name in encoder]
    other_shape = [name for name in shared if encoder[name].shape != target[name].shape]
    problems["shape"] = waivers.remaining("shape", other_shape)
    loaded = [name for name in shared if name not in other_shape]
    _raise_problems(path, found, problems, encoder, target, loaded)
    check_finite(path, {name: encoder[name] for name in loaded})

    result = backbone.load_state_dict({name: encoder[name] for name in loaded}, strict=False)
    if set(result.missing_keys) - set(target) or set(target) - set(loaded) != set(result.missing_keys):
        raise RuntimeError(f"{path}: the backbone took other tensors than planned: {result}")
    kept = {name: "waived" for name in (*missing, *other_shape)}
    parameters = dict(backbone.named_parameters())
    report = LoadReport(
        path=str(path),
        family=found.family.name,
        container=found.container,
        architecture=found.architecture,
        loaded=loaded,
        parameters=sum(parameters[name].numel() for name in loaded if name in parameters),
        total_tensors=len(target),
        total_parameters=sum(parameter.numel() for parameter in parameters.values()),
        fresh={**fresh, **kept},
        left_over={**left_over, **{name: "waived" for name in unexpected}},
        transformations=[*found.transformations, *notes],
        waived=waivers.used,
        training=checkpoint.training,
    )
    backbone.load_report = report  # type: ignore[assignment]
    return report


def check_finite(path: str | os.PathLike, state: State) -> None:
    """Raises UserError naming the tensors that hold NaN or infinite values."""
    infinite = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if infinite:
        raise UserError(
            f"{path} holds values that are not finite (NaN or infinite) in {_first(infinite)}; it cannot be used."
        )


def _check_architecture(path: str | os.PathLike, theirs: Architecture, backbone: nn.Module, target: State) -> None:
    ours = vit_architecture(target)
    if not ours.depth:
        return  # no plain ViT: names and shapes decide
    sizes = ((getattr(theirs, size), getattr(ours, size)) for size in ("embed_dim", "depth", "patch_size"))
    if any(a != b for a, b in sizes if a is not None):
        raise UserError(
            f"{path}: the checkpoint is {theirs}, the config's backbone is {ours}; "
            "set the config's arch and patch_size."
        )
    heads = getattr(getattr(_first_block(backbone), "attn", None), "num_heads", None)
    if theirs.heads_are_stored and heads not in (None, theirs.num_heads):
        raise UserError(
            f"{path}: the checkpoint was trained with {theirs.num_heads} attention heads, "
            f"the config's backbone has {heads}; set the config's arch."
        )


def _first_block(backbone: nn.Module) -> Any:
    blocks = getattr(backbone, "blocks", None)
    return blocks[0] if isinstance(blocks, nn.Sequential | nn.ModuleList) and len(blocks) else None


def _resample(
    path: str | os.PathLike, found: Recognised, backbone: nn.Module, target: State
) -> tuple[State, list[str]]:
    # Positions of another grid are resized as MAE does, class row apart; the rest is taken as it is.
    encoder = dict(found.family.encoder(found.state))
    table, own = encoder.get("pos_embed"), target.get("pos_embed")
    grid = getattr(backbone, "grid", None)
    if table is None or own is None or grid is None or table.shape[-1] != own.shape[-1]:
        return encoder, []
    old, new = found.architecture.grid, (int(grid[0]), int(grid[1]))
    if old == new or (old is None and table.shape == own.shape):
        return encoder, []
    if old is None:
        raise UserError(
            f"{path}: pos_embed has {table.shape[1]} rows, which is no square grid, and the file does not say which "
            "one it is; give the config's backbone the image size of pre-training."
        )
    encoder["pos_embed"] = resize_table(table, old, new, own.shape[1] - new[0] * new[1])
    return encoder, [f"pos_embed resampled {old[0]}x{old[1]} -> {new[0]}x{new[1]} bicubic"]


def resize_table(table: Tensor, old: Grid, new: Grid, prefix_rows: int = 1) -> Tensor:
    """Positions [1, prefix + h * w, D] at another grid, with `prefix_rows` rows before the patches (zeros if new)."""
    rows = table.shape[1] - old[0] * old[1]
    prefix = table[:, :rows] if rows >= prefix_rows else table.new_zeros(1, prefix_rows, table.shape[-1])
    return torch.cat([prefix[:, :prefix_rows], resample_positions(table[:, rows:], old, new)], dim=1)


def missing_tensors(found: Recognised, encoder: State, target: State) -> tuple[list[str], dict[str, str]]:
    """What the file lacks: an error, or declared by the family with its reason (as a whole group or not at all)."""
    missing, fresh = [], {}
    for name in (name for name in target if name not in encoder):
        for absence in found.family.may_lack:
            if not fnmatchcase(name, absence.pattern) or (absence.given and absence.given not in encoder):
                continue
            if not any(fnmatchcase(other, absence.pattern) for other in encoder):
                fresh[name] = absence.reason
                break
        else:
            missing.append(name)
    return missing, fresh


def _unexpected(found: Recognised, target: State) -> tuple[list[str], dict[str, str]]:
    # What the backbone does not take, by the file's names: an error, or declared by the family.
    unexpected, left_over = [], {}
    for name in found.state:
        own = found.family.own_name(name) or ""
        if own.startswith("backbone.") and own.removeprefix("backbone.") in target:
            continue
        reason = found.family.reason_to_leave(name)
        if reason is None:
            unexpected.append(name)
        else:
            left_over[name] = reason
    return unexpected, left_over


def _raise_problems(
    path: str | os.PathLike,
    found: Recognised,
    problems: dict[str, list[str]],
    encoder: State,
    target: State,
    loaded: list[str],
) -> None:
    if not loaded:
        raise UserError(_no_match(path, found, target))
    said = []
    if problems["missing"]:
        said.append(
            f"{len(problems['missing'])} of the backbone's {len(target)} tensors missing "
            f"({_first(problems['missing'])})"
        )
    if problems["unexpected"]:
        said.append(f"{len(problems['unexpected'])} unexpected ({_first(problems['unexpected'])})")
    if problems["shape"]:
        shapes = [f"{n} {list(encoder[n].shape)} for {list(target[n].shape)}" for n in problems["shape"]]
        said.append(f"{len(shapes)} of another shape ({_first(shapes)})")
    if said:
        kind, names = next((kind, names) for kind, names in problems.items() if names)
        raise UserError(
            f"{path} (family {found.family.name}) does not fit the config's backbone: {'; '.join(said)}; "
            f"change the config, or accept it with --waive '{kind}:{names[0]}' (shell patterns allowed)."
        )


def _no_match(path: str | os.PathLike, found: Recognised, target: State) -> str:
    return (
        f"{path}: none of the backbone's {len(target)} tensors is in the checkpoint (family {found.family.name}, first "
        f"names {', '.join(list(found.state)[:3])}); give a checkpoint of this architecture."
    )


def _first(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _grouped(names: dict[str, str]) -> str:
    reasons: dict[str, list[str]] = {}
    for name, reason in names.items():
        reasons.setdefault(reason, []).append(name)
    return ", ".join(f"{_first(group)} ({reason})" for reason, group in reasons.items())


@WEIGHT_INITIALIZERS.register_module()
class Pretrained:
    """`init_cfg=dict(type='Pretrained', checkpoint=PATH, waive=[...])` in scope mimeval: `load_backbone`, strict.

    mmengine's own initialiser of this name, which loads whatever happens to fit, stays at `mmengine.Pretrained`.
    """

    def __init__(self, checkpoint: str | os.PathLike, waive: Sequence[str] = (), trust_pickle: bool = False):
        self.checkpoint = checkpoint
        self.waive = waive
        self.trust_pickle = trust_pickle

    def __call__(self, module: nn.Module) -> None:
        report = load_backbone(module, self.checkpoint, self.waive, self.trust_pickle)
        print_log(str(report), logger="current")
        if hasattr(module, "_params_init_info"):
            update_init_info(module, init_info=f"Pretrained: load from {self.checkpoint}")
