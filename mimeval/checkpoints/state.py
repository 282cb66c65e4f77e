"""Checkpoint files, read without running what they contain.

A `.pth` file is a pickle, and a pickle can run any code. Here none is run: `reading` follows its instructions on plain
data, with a short list of types. Full pickle is reached through `trust_pickle=True` only, never as a fall-back.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mimeval.errors import UserError

from .containers import find_states
from .reading import (
    Content,
    Global,
    Malformed,
    Reader,
    Stored,
    Unusual,
    check_sum,
    damaged,
    finish,
    read_content,
    refuse_unlisted,
)
from .reading.archive import open_archive
from .writing import sha256, write_pth, write_safetensors

__all__ = [
    "Checkpoint",
    "check_whole",
    "describe_state",
    "read_file",
    "read_state",
    "sha256",
    "state_of",
    "write_pth",
    "write_safetensors",
]
ZIP = "torch zip"


@dataclass
class Checkpoint:
    """A checkpoint file: its state dicts by key (`''`: the file itself), the best first, and what else it holds."""

    path: Path
    states: dict[str, dict[str, Tensor]]
    meta: dict[str, Any] = field(default_factory=dict)
    reader: Reader | None = None
    """Of tensors that are mapped from the file."""

    def let_go(self, *_: Any) -> None:
        """Give back the memory of mapped tensors that were looked at (Reader.let_go); takes whatever a hook is given."""
        if self.reader is not None:
            self.reader.let_go()

    @property
    def container(self) -> str:
        return next(iter(self.states))

    @property
    def state(self) -> dict[str, Tensor]:
        return self.states[self.container]

    @property
    def training(self) -> dict[str, Any] | None:
        """How it was trained (config, command, seed, git, hardware, images_seen, wall_s), where one of our runs noted it."""
        meta = self.meta.get("meta", self.meta)  # a runner's file keeps it one level down
        noted = meta.get("training")
        if isinstance(noted, str):  # a safetensors header holds strings only
            try:
                noted = json.loads(noted)
            except (ValueError, RecursionError):
                return None
        # A runner notes the seed beside it.
        return {"seed": meta.get("seed"), **noted} if isinstance(noted, dict) else None


def read_file(
    path: str | os.PathLike, trust_pickle: bool = False, map_location: Any = "cpu", mmap: bool = False
) -> Any:
    """The object in a checkpoint file; of a safetensors file `{'state_dict': {...}, 'meta': {...}}`.

    map_location: a device or its name, to which tensors go; anything else leaves them on the CPU. mmap: tensors stay in
    the file until they are used, for a look at what stands beside them.

    Raises UserError, one sentence, for whatever cannot be read: an address, a folder, an empty or damaged file, other
    content, and without trust_pickle a pickle that needs more than tensors and the few types that checkpoints hold.
    """
    content = read_content(path)
    if content.unlisted and trust_pickle:
        return _read_trusted(content, map_location)
    refuse_unlisted(content)
    reader = Reader(copy=not mmap)
    device = map_location if isinstance(map_location, str | torch.device) else "cpu"
    return _finish(content, lambda stored: reader.tensor(stored).to(device))


def read_state(path: str | os.PathLike, trust_pickle: bool = False) -> Checkpoint:
    """The state dicts of a checkpoint file; their tensors are mapped from the file, and must not be written to.

    What stands beside them keeps its tensors described (`Stored`). Raises UserError if the file cannot be read, is
    damaged, or holds no tensors.
    """
    content = read_content(path)
    if content.unlisted and trust_pickle:
        return state_of(content, _read_trusted(content, "cpu"))
    refuse_unlisted(content)
    checkpoint = _described(content)
    reader = Reader(copy=False)
    states: dict[str, Any] = checkpoint.states
    for name, state in states.items():
        for stored in state.values():
            if isinstance(stored, Stored):
                check_sum(stored.extent)
        states[name] = {key: _tensor(value, reader) for key, value in state.items()}
    checkpoint.reader = reader
    return checkpoint


def describe_state(path: str | os.PathLike) -> Checkpoint:
    """As read_state of a file without code, with each tensor described (`Stored`) and none read."""
    content = read_content(path)
    refuse_unlisted(content)
    return _described(content)


def _described(content: Content) -> Checkpoint:
    return state_of(content, _finish(content, lambda stored: stored))


def state_of(content: Content, tree: Any) -> Checkpoint:
    """The Checkpoint of a file's object; tensors are whatever stands for them in it. UserError if it holds none."""
    path = content.path
    if isinstance(tree, nn.Module):
        tree = {"model": tree}
    if not isinstance(tree, dict):
        what = "single name" if isinstance(tree, Global) else type(tree).__name__
        raise UserError(f"{path} holds a {what}, where a checkpoint is a dictionary with named tensors.")
    tree = {key: value.state_dict() if isinstance(value, nn.Module) else value for key, value in tree.items()}
    states = find_states(tree, (Tensor, Stored, np.ndarray, Unusual))
    if not states:
        raise UserError(f"{path} holds no tensors; its keys are {', '.join(map(str, list(tree)[:20])) or 'none'}.")
    for name, tensor in (item for tensors in states.values() for item in tensors.items()):
        if kind := _unusual(tensor):
            raise UserError(f"{path}: expected plain tensors, found {name} {kind}; save it as a dense tensor.")
    meta = {
        str(key): value
        for key, value in tree.items()
        if not isinstance(value, Tensor | Stored | np.ndarray)
        and not any(name == key or name.startswith(f"{key}.") for name in states)
    }
    return Checkpoint(path, states, meta)


def _unusual(tensor: Any) -> str:
    if isinstance(tensor, Unusual):
        return tensor.kind
    if isinstance(tensor, np.ndarray):
        return "" if tensor.dtype.kind in "biuf" else f"an array of {tensor.dtype}"
    if isinstance(tensor, Tensor) and (tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta):
        return "quantized" if tensor.is_quantized else "meta" if tensor.is_meta else "sparse"
    return ""


def _tensor(value: Any, reader: Reader) -> Tensor:
    if isinstance(value, Stored):
        return reader.tensor(value).detach()
    return torch.from_numpy(value.astype(value.dtype.newbyteorder("="))) if isinstance(value, np.ndarray) else value


def _finish(content: Content, make: Callable[[Stored], Any]) -> Any:
    try:
        return finish(content.tree, make)
    except Malformed as error:
        raise damaged(content.path, error) from None


def _read_trusted(content: Content, map_location: Any) -> Any:
    # Full pickle: the user has said that its author is trusted.
    try:
        if content.format == "pickle":
            with content.path.open("rb") as stream:
                return pickle.load(stream)
        return torch.load(content.path, map_location=map_location, weights_only=False)
    except MemoryError:
        raise
    except Exception as error:  # code of others can fail with any exception at all
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise UserError(
            f"{content.path} cannot be read, although its pickle is trusted: {reason}; install what it needs, or save its "
            "state dict alone."
        ) from None


def check_whole(path: str | os.PathLike) -> None:
    """Raises UserError unless every byte of a file by torch.save is as it was written; torch itself ignores the checksums."""
    content = read_content(path)
    if content.format == ZIP:
        try:
            records = open_archive(content.path).records
        except Malformed as error:
            raise damaged(content.path, error) from None
        for name, extent in records.items():
            check_sum(extent, name)
