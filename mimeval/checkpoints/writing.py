"""Checkpoint files, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from mimeval.errors import UserError
from mimeval.files import write_whole

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

    def save(temporary: Path) -> None:
        try:
            torch.save(content, temporary)
        except RuntimeError:
            # torch says that a write failed and not why; a full disk refuses this, too, and says so.
            with temporary.open("ab") as stream:
                stream.write(bytes(1 << 20))
                stream.flush()
                os.fsync(stream.fileno())
            raise

    _write(Path(path), save)


def write_safetensors(path: str | os.PathLike, state: dict[str, Tensor], meta: dict[str, Any] | None = None) -> None:
    """Write tensors with a header of strings (other values as JSON), whole or not at all. UserError as `write_pth`."""
    header = {key: value if isinstance(value, str) else json.dumps(value) for key, value in (meta or {}).items()}
    _write(Path(path), lambda temporary: _stream(temporary, state, {"format": "pt", **header}))


def _stream(path: Path, state: dict[str, Tensor], meta: dict[str, str]) -> None:
    """A safetensors file, tensor by tensor: its library would hold all of them in memory, twice, and put metadata in random order.

    Wide types first, as the library does, so that every tensor lies aligned; equal content has one SHA-256.
    """
    order = sorted(state, key=lambda name: (-state[name].dtype.itemsize, name))
    entries: dict[str, Any] = {"__metadata__": dict(sorted(meta.items()))}
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


def _write(path: Path, save: Callable[[Path], None]) -> None:
    try:
        write_whole(path, save)
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        reason = getattr(error, "strerror", None) or _first_line(error)
        raise UserError(f"{path} cannot be written: {reason}; nothing was left there.") from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:200]
