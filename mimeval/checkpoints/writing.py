"""Checkpoint files, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from mimeval.errors import UserError
from mimeval.files import new_file

from .reading.tensorfile import DTYPES as NAMES

DTYPES = {dtype: name for name, dtype in NAMES.items()}


def sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def write_pth(path: str | os.PathLike, content: dict) -> None:
    """Write a dictionary by torch.save, whole or not at all. UserError if the folder cannot be written."""
    with new_checkpoint(path) as temporary:
        save_pth(temporary, content)


def write_safetensors(path: str | os.PathLike, state: dict[str, Tensor], meta: dict[str, Any] | None = None) -> None:
    """Write tensors with a header of strings (other values as JSON), whole or not at all. UserError as `write_pth`."""
    with new_checkpoint(path) as temporary:
        save_safetensors(temporary, state, meta)


@contextmanager
def new_checkpoint(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary file that takes the name `path` at the end, unless something fails (files.py). UserError if it cannot be written."""
    try:
        with new_file(Path(path)) as temporary:
            yield temporary
    except OSError as error:
        reason = error.strerror or _first_line(error)
        raise UserError(f"{path} cannot be written: {reason}; nothing was left there.") from error


def save_pth(path: Path, content: dict, written: Callable[[], object] | None = None) -> None:
    """torch.save; `written` is called now and then. Raises OSError where the disk does not take it."""
    try:
        if written is None:
            torch.save(content, path)
        else:
            with path.open("wb") as stream:
                torch.save(content, _Telling(stream, written))  # type: ignore[arg-type]
    except RuntimeError as error:
        # torch says that a write failed and not why; a full disk refuses this, too, and says so.
        with path.open("ab") as stream:
            stream.write(bytes(1 << 20))
            stream.flush()
            os.fsync(stream.fileno())
        raise OSError(_first_line(error)) from error


class _Telling:
    """A file for torch.save that calls `written` after every OFTEN bytes."""

    OFTEN = 64 << 20

    def __init__(self, stream: BinaryIO, written: Callable[[], object]):
        self.stream, self.written, self.since = stream, written, 0

    def write(self, data: Any) -> int:
        self.since += len(data)
        if self.since >= self.OFTEN:
            self.since = 0
            self.written()
        return self.stream.write(data)

    def flush(self) -> None:
        self.stream.flush()


def save_safetensors(
    path: Path,
    state: dict[str, Tensor],
    meta: dict[str, Any] | None = None,
    written: Callable[[], object] = lambda: None,
) -> None:
    """A safetensors file, tensor by tensor: its library would hold all of them in memory, twice, and put metadata in random order.

    Wide types first, as the library does, so that every tensor lies aligned; equal content has one SHA-256. `written` is called
    after each tensor. Raises OSError.
    """
    header = {key: value if isinstance(value, str) else json.dumps(value) for key, value in (meta or {}).items()}
    order = sorted(state, key=lambda name: (-state[name].dtype.itemsize, name))
    entries: dict[str, Any] = {"__metadata__": dict(sorted({"format": "pt", **header}.items()))}
    end = 0
    for name in order:
        tensor = state[name]
        begin, end = end, end + tensor.numel() * tensor.dtype.itemsize
        entries[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            plain = state[name].detach().cpu().contiguous().flatten()
            stream.write(plain.view(torch.uint8).numpy().data)
            written()


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:200]
