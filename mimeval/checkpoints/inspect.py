"""What a checkpoint file is, said without running it and without reading more than headers and samples."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mimeval.errors import UserError

from .compare import missing_tensors, nearest_name, unexpected_tensors
from .containers import alternatives
from .expected import sketch
from .fit import fit
from .formats import Recognised, blamed, families_of, parse_switches, recognise
from .formats.architecture import Architecture
from .nearest import nearest
from .next_step import transfer_command
from .reading import Malformed, Opaque, Reader, Stored, Unusual, damaged, finish, read_content
from .state import Checkpoint, check_whole, state_of
from .values import Health, look
from .writing import sha256

# Matrices larger than this are described to the families and not read: some of these put several together.
LARGE = 2 << 20
# Of so many missing tensors the nearest name is looked for.
NEAR = 5


@dataclass
class Loading:
    """What would be loaded into the backbone that the architecture is."""

    tensors: int
    """Of the backbone."""
    loaded: int
    parameters: int
    fresh: dict[str, str] = field(default_factory=dict)
    left_over: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    near: dict[str, str] = field(default_factory=dict)
    """Of the first of those missing: the name in the file that comes nearest."""
    unexpected: list[str] = field(default_factory=list)
    other_shape: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return not (self.missing or self.unexpected or self.other_shape)


@dataclass
class Inspection:
    """Everything that `mimeval inspect` says; `as_dict` is its JSON."""

    path: str
    format: str
    bytes: int
    sha256: str | None = None
    """Where every byte was read (deep)."""
    globals: list[str] = field(default_factory=list)
    """Every name that the file's pickle calls for; none was imported."""
    unlisted: list[str] = field(default_factory=list)
    """Those of them that no checkpoint needs: the file holds code, or objects of its author's classes."""
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """State dicts by key: number of tensors and of values, bytes, dtypes."""
    container: str | None = None
    """The one that is described, and the default of every other verb."""
    alternatives: list[str] = field(default_factory=list)
    """Others that hold the same network; `--switch container=NAME` takes one."""
    family: str | None = None
    reason: str = ""
    """Why no family was recognised, or why the one that was cannot be used."""
    nearest: list[tuple[str, str]] = field(default_factory=list)
    """(family, why the file is not one of its own), the nearest first."""
    architecture: dict[str, Any] | None = None
    model: str = ""
    mean: list[float] | None = None
    std: list[float] | None = None
    transformations: list[str] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)
    """What stands beside the weights: epoch, arguments, config, and keys that are only named."""
    keys: list[dict[str, Any]] = field(default_factory=list)
    """name, shape and dtype of every tensor of the container."""
    health: Health | None = None
    loading: Loading | None = None
    command: str = ""
    """`mimeval transfer` for this file, as far as a suite is shipped for its architecture."""
    remark: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As plain data; standard deviations, which are for people, are left out."""
        found = asdict(self)
        if self.health is not None:
            found["health"].pop("std")
        return found


def inspect(path: str | os.PathLike, deep: bool = False, switches: Sequence[str] = ()) -> Inspection:
    """Describe a checkpoint file. Nothing in it is run, whatever it holds.

    deep: every value is looked at and every checksum held, in place of samples. switches: NAME=VALUE as `load_backbone` takes
    them, `container=student` for another state dict of the file. Raises UserError if the file cannot be read at all, or is
    damaged; a file of no known family, with code in it or without tensors, is described as far as it goes.
    """
    content = read_content(path)
    if deep:
        check_whole(path)
    found = Inspection(str(path), content.format, content.size, globals=content.globals, unlisted=content.unlisted)
    found.sha256 = sha256(content.path) if deep else None
    try:
        tree = finish(content.tree, lambda stored: stored)
    except Malformed as error:
        raise damaged(content.path, error) from None
    try:
        checkpoint = state_of(content, _as_dictionary(tree))
    except UserError as error:
        found.reason = str(error).removeprefix(str(path)).lstrip(": ")
        return found
    states: dict[str, dict[str, Any]] = checkpoint.states
    found.training = beside(checkpoint.meta, checkpoint.training)
    found.containers = {name: _summary(state) for name, state in states.items()}
    wanted = parse_switches(switches).get("container")
    recognised = _recognise(checkpoint, found, switches)
    found.container = recognised.container if recognised else wanted or checkpoint.container
    found.alternatives = alternatives(states, found.container)
    state = states[found.container]
    found.keys = [_key(name, value) for name, value in state.items()]
    found.health = look(state, deep)
    if recognised is not None:
        _describe(found, recognised)
        _next(found, recognised.architecture)
    return found


def _as_dictionary(tree: Any) -> Any:
    # A whole module that was pickled is an object of a class that is not known here; its tensors are there all the same.
    if isinstance(tree, Opaque) and (state := module_state(tree)):
        return {f"{tree.name} (a pickled object)": state}
    if isinstance(tree, dict):
        modules = {
            key: state for key, value in tree.items() if isinstance(value, Opaque) and (state := module_state(value))
        }
        return {**tree, **modules}
    return tree


def module_state(module: Opaque, prefix: str = "", depth: int = 0) -> dict[str, Any]:
    """The tensors of an nn.Module that was pickled whole, by the names that its state dict would have."""
    found: dict[str, Any] = {}
    for part in module.parts if depth < 32 else ():
        if not isinstance(part, dict):
            continue
        for kind in ("_parameters", "_buffers"):
            values = part.get(kind)
            for name, value in values.items() if isinstance(values, dict) else ():
                if isinstance(value, Stored):
                    found[f"{prefix}{name}"] = value
        inner = part.get("_modules")
        for name, value in inner.items() if isinstance(inner, dict) else ():
            if isinstance(value, Opaque):
                found |= module_state(value, f"{prefix}{name}.", depth + 1)
    return found


def _summary(state: dict[str, Any]) -> dict[str, Any]:
    values = [_key("", value) for value in state.values()]
    dtypes: dict[str, int] = {}
    for value in values:
        dtypes[value["dtype"]] = dtypes.get(value["dtype"], 0) + 1
    return {
        "tensors": len(values),
        "values": sum(int(np.prod(value["shape"], dtype=object)) for value in values),
        "bytes": sum(value.nbytes for value in state.values() if not isinstance(value, Unusual)),
        "dtypes": dtypes,
    }


def _key(name: str, value: Any) -> dict[str, Any]:
    return {"name": name, "shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}


def beside(meta: dict[str, Any], training: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a file says of its training, as plain data of moderate size; objects and tensors are named only."""
    found = {name: _plain(value, 0) for name, value in meta.items()}
    if training is not None:  # in a header it is text
        inner = found["meta"] if isinstance(found.get("meta"), dict) else found
        inner["training"] = _plain(training, 0)
    return found


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if len(value) <= 2000 else f"{value[:2000]}... ({len(value):,} characters)"
    if isinstance(value, Opaque):
        return f"({value.name}, not made)"
    if isinstance(value, Stored | Tensor | np.ndarray):
        return f"({_key('', value)['dtype']} {'x'.join(map(str, value.shape)) or 'number'})"
    if depth < 3 and isinstance(value, dict) and len(value) <= 200:
        return {str(name): _plain(part, depth + 1) for name, part in value.items()}
    if depth < 3 and isinstance(value, list | tuple | set | frozenset) and len(value) <= 50:
        return [_plain(part, depth + 1) for part in value]
    return f"({type(value).__name__} of {len(value):,})" if hasattr(value, "__len__") else f"({type(value).__name__})"


# Which family, and what would be loaded


def _recognise(checkpoint: Checkpoint, found: Inspection, switches: Sequence[str]) -> Recognised | None:
    reader = Reader(copy=False)
    shown = _with_states(checkpoint, lambda value: _light(value, reader))
    try:
        return recognise(shown, switches)
    except UserError as error:
        # A family that is known and cannot be used says why; of others the nearest is told.
        if (wanted := parse_switches(switches).get("container")) is not None and wanted not in shown.states:
            raise
        known = families_of(shown)
        found.family = known[0][0].name if known else None
        found.reason = str(error) if known else "no family that is known has these names"
        found.nearest = [] if known else nearest(shown)
        return None


def _with_states(checkpoint: Checkpoint, make: Callable[[Any], Tensor]) -> Checkpoint:
    states = {name: {key: make(value) for key, value in state.items()} for name, state in checkpoint.states.items()}
    return Checkpoint(checkpoint.path, states, checkpoint.meta)


def _light(value: Any, reader: Reader) -> Tensor:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.astype(value.dtype.newbyteorder("=")))
    if len(value.shape) == 2 and value.nbytes > LARGE:
        return torch.empty(value.shape, dtype=value.dtype, device="meta")
    return reader.tensor(value).detach()


def _describe(found: Inspection, recognised: Recognised) -> None:
    architecture, family = recognised.architecture, recognised.family
    found.family = family.name
    found.architecture, found.model = architecture.as_dict(), str(architecture)
    found.mean, found.std = (list(values) for values in recognised.normalisation)
    found.transformations = recognised.transformations
    outline = sketch(architecture)
    if outline is None:
        found.reason = f"its shapes do not tell a whole backbone ({architecture})"
        return
    target = outline.state_dict()
    try:
        with blamed(found.path, family):
            fitted = fit(found.path, recognised, outline, target)
            missing, fresh = missing_tensors(recognised, fitted.encoder, target)
            unexpected, left_over = unexpected_tensors(recognised, target, fitted.used)
    except UserError as error:
        found.reason = str(error)
        return
    missing = [name for name in missing if name not in fitted.fresh]
    near = {name: nearest_name(recognised, name, target) for name in missing[:NEAR]}
    shared = [name for name in target if name in fitted.encoder]
    other_shape = [name for name in shared if fitted.encoder[name].shape != target[name].shape]
    found.transformations = [*found.transformations, *fitted.notes]
    found.loading = Loading(
        tensors=len(target),
        loaded=len(shared) - len(other_shape),
        parameters=sum(target[name].numel() for name in shared if name not in other_shape),
        fresh={**fresh, **fitted.fresh},
        left_over=left_over,
        missing=missing,
        near={name: theirs for name, theirs in near.items() if theirs is not None},
        unexpected=unexpected,
        other_shape=other_shape,
    )


# What to do with it


def _next(found: Inspection, architecture: Architecture) -> None:
    found.command, remarks = transfer_command(found.path, architecture)
    if found.unlisted:
        remarks.append("the file calls for code and is refused without --trust-pickle, which runs it")
    elif found.loading is not None and not found.loading.complete:
        remarks.append("it will be refused unless what is missing or unexpected is waived by name (--waive)")
    elif found.health is not None and found.health.infinite:
        remarks.append("it will be refused, because its values are not finite")
    found.remark = "; ".join(remarks)
