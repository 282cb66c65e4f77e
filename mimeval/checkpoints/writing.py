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
from safetensors.torch import save_file
from torch import Tensor

from mimeval.errors import UserError
from mimeval.files import write_whole


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
    # safetensors refuses views and tensors that share memory.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}

    def save(temporary: Path) -> None:
        save_file(tensors, temporary, {"format": "pt", **header})
        _sort_header(temporary)

    _write(Path(path), save)


def _sort_header(path: Path) -> None:
    """Order a safetensors file's metadata by key: the library writes it in random order, and equal content has one SHA-256."""
    with path.open("r+b") as stream:
        size = int.from_bytes(stream.read(8), "little")
        entries = json.loads(stream.read(size))
        entries["__metadata__"] = dict(sorted(entries["__metadata__"].items()))
        text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= size:  # spaces fill up, as the format allows
            stream.seek(8)
            stream.write(text.ljust(size))


def _write(path: Path, save: Callable[[Path], None]) -> None:
    try:
        write_whole(path, save)
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        reason = getattr(error, "strerror", None) or _first_line(error)
        raise UserError(f"{path} cannot be written: {reason}; nothing was left there.") from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:200]
