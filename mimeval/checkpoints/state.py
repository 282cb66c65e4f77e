"""Checkpoint files, read without running what they contain, and written whole or not at all.

A `.pth` file is a pickle, and a pickle can run any code. Files are read with `weights_only=True` and the short list
below, or as safetensors. Full pickle is reached through `trust_pickle=True` only, never as a fall-back.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import safetensors
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file
from torch import Tensor

from mimeval.errors import UserError
from mimeval.files import write_whole

TRUST = "`mimeval convert --trust-pickle` reads it all the same, which runs whatever code the file contains"
# The keys under which files keep a state dict, best first: official MAE, mmengine, SlowFast.
WRAPPERS = ("model", "state_dict", "model_state")
ZIP = b"PK\x03\x04"
REMOTE = re.compile(r"^[A-Za-z][\w.+-]*:(\S+:)?//")


@dataclass
class Checkpoint:
    """A checkpoint file: its state dicts by key (`''`: the file itself), the best first, and what else it holds."""

    path: Path
    states: dict[str, dict[str, Tensor]]
    meta: dict[str, Any] = field(default_factory=dict)

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
            except ValueError:
                return None
        # A runner notes the seed beside it.
        return {"seed": meta.get("seed"), **noted} if isinstance(noted, dict) else None


def _statistic(owner: Any, name: str) -> Callable:
    # HistoryBuffer pickles its four statistics as `getattr(HistoryBuffer, 'mean')`; an unrestricted getattr on the list
    # would hand a pickle every attribute of every listed class.
    if owner is HistoryBuffer and name in ("min", "max", "current", "mean"):
        return getattr(HistoryBuffer, name)
    raise UnpicklingError(f"Unsupported global: GLOBAL builtins.getattr of {owner!r}.{name}")


def _allowed() -> list[Any]:
    scalars = [np.dtype(kind) for kind in "?bBhHiIlLqQefdFDSU"]
    allowed: list[Any] = [
        argparse.Namespace,
        HistoryBuffer,
        slice,
        np.ndarray,
        np.dtype,
        *{type(kind) for kind in scalars},
    ]
    for core in ("numpy.core", "numpy._core"):  # the names that numpy 1 and numpy 2 write
        allowed.append((np.ndarray.__reduce__(np.empty(0))[0], f"{core}.multiarray._reconstruct"))
        allowed.append((np.float64(0).__reduce__()[0], f"{core}.multiarray.scalar"))  # type: ignore[index]
    allowed.append((_statistic, "builtins.getattr"))
    return allowed


def read_file(
    path: str | os.PathLike, trust_pickle: bool = False, map_location: Any = "cpu", mmap: bool = False
) -> Any:
    """The object in a checkpoint file; of a safetensors file `{'state_dict': {...}, 'meta': {...}}`.

    mmap: tensors stay in the file until they are used, for a look at what stands beside them.

    Raises UserError, one sentence, for whatever cannot be read: an address, a folder, an empty or damaged file, other
    content, and without trust_pickle a pickle that needs more than tensors and the few types that checkpoints hold.
    """
    if REMOTE.match(str(path)):
        raise UserError(f"{path}: mimeval does not download checkpoints; download the file and give its local path.")
    file = Path(path).expanduser()
    head = _head(file)
    if file.suffix == ".safetensors" or _is_safetensors(head):
        return _read_safetensors(file, map_location)
    return _read_pickle(file, head, trust_pickle, map_location, mmap)


def check_whole(path: str | os.PathLike) -> None:
    """Raises UserError unless every byte of a file by torch.save is as it was written; torch itself ignores the checksums."""
    file = Path(path).expanduser()
    head = _head(file)
    if head[:4] != ZIP:
        read_file(file)
        return
    _check_zip(file)
    with zipfile.ZipFile(file) as archive:
        try:
            damaged = archive.testzip()
        except (zipfile.BadZipFile, OSError) as error:
            raise UserError(f"{file} is damaged: {_first_line(error)}; copy or download it again.") from None
    if damaged:
        raise UserError(f"{file} is damaged (wrong checksum of {damaged}); copy or download it again.")


def _check_zip(file: Path) -> None:
    if not zipfile.is_zipfile(file):
        raise UserError(f"{file} is cut short (its end is missing); copy or download it again.")
    if not any(name.endswith("data.pkl") for name in zipfile.ZipFile(file).namelist()):
        raise UserError(f"{file} is a zip archive but no checkpoint: it has no data.pkl, which torch.save writes.")


def read_state(path: str | os.PathLike, trust_pickle: bool = False) -> Checkpoint:
    """The state dicts of a checkpoint file, on the CPU. UserError if the file cannot be read or holds no tensors."""
    content = read_file(path, trust_pickle)
    if not isinstance(content, dict):
        raise UserError(
            f"{path} holds a {type(content).__name__}, where a checkpoint is a dictionary with named tensors."
        )
    nested = {str(key): value for key, value in content.items() if isinstance(value, dict)}
    keys = [*(key for key in WRAPPERS if key in nested), "", *(key for key in nested if key not in WRAPPERS)]
    found = {key: _tensors(nested[key] if key else content) for key in keys}
    for name, tensor in (item for tensors in found.values() for item in tensors.items()):
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
            kind = "quantized" if tensor.is_quantized else "meta" if tensor.is_meta else "sparse"
            raise UserError(f"{path}: expected plain tensors, found {name} {kind}; save it as a dense tensor.")
    states = {key: tensors for key, tensors in found.items() if tensors}
    if not states:
        raise UserError(f"{path} holds no tensors; its keys are {', '.join(map(str, content)) or 'none'}.")
    return Checkpoint(
        Path(path).expanduser(), states, {str(k): v for k, v in content.items() if not _holds(k, v, states)}
    )


def _tensors(entries: dict) -> dict[str, Tensor]:
    return {name: value for name, value in entries.items() if isinstance(name, str) and isinstance(value, Tensor)}


def _holds(key: Any, value: Any, states: dict) -> bool:
    return key in states or isinstance(value, Tensor)


def _head(file: Path) -> bytes:
    # The first bytes, after every reason for which there can be none.
    if file.is_dir():
        raise UserError(f"{file} is a folder, where a checkpoint file is expected.")
    try:
        with file.open("rb") as stream:
            head = stream.read(16)
    except FileNotFoundError:
        raise UserError(f"{file} does not exist; give the path of a checkpoint file.") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None
    if not head:
        raise UserError(f"{file} is empty (0 bytes); the download or the copy did not finish.")
    return head


def _is_safetensors(head: bytes) -> bool:
    return len(head) > 9 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < 100_000_000


def _read_safetensors(file: Path, map_location: Any) -> dict:
    try:
        with safetensors.safe_open(str(file), framework="pt") as opened:
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
            meta = opened.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(
            f"{file} is no whole safetensors file: {_first_line(error)}; copy or download it again."
        ) from None
    # safetensors has no map_location; a runner hands over a device or a name.
    if isinstance(map_location, str | torch.device):
        state = {name: tensor.to(map_location) for name, tensor in state.items()}
    return {"state_dict": state, "meta": meta}


def _read_pickle(file: Path, head: bytes, trust_pickle: bool, map_location: Any, mmap: bool) -> Any:
    is_zip = head[:4] == ZIP
    if is_zip:
        _check_zip(file)
    elif head[:1] != b"\x80":
        raise UserError(
            f"{file} is no checkpoint: expected a file by torch.save or a safetensors file, found {head[:8]!r}."
        )
    mmap &= is_zip
    try:
        if trust_pickle:
            return torch.load(file, map_location=map_location, weights_only=False, mmap=mmap)
        with torch.serialization.safe_globals(_allowed()):
            return torch.load(file, map_location=map_location, weights_only=True, mmap=mmap)
    except UnpicklingError as error:
        raise UserError(_refusal(file, error, is_zip)) from None
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle can fail with any exception at all
        raise UserError(f"{file} is damaged or cut short: {_first_line(error)}; copy or download it again.") from None


def _refusal(file: Path, error: UnpicklingError, is_zip: bool) -> str:
    found = re.findall(r"GLOBAL ([\w.]+)", str(error))
    if is_zip and found:
        with torch.serialization.safe_globals(_allowed()):
            try:
                found = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file)) or found
            except Exception:  # an opcode that the safe reader does not take: the first name has to do
                pass
    if found:
        names = ", ".join(dict.fromkeys(found))
        return f"{file} was not read: it is a pickle that calls for {names}, which no checkpoint needs; {TRUST}."
    # torch's own advice is full pickle; what it met stands behind it.
    reason = " ".join(str(error).rpartition("WeightsUnpickler error:")[2].split())[:100].rstrip(". ")
    return f"{file} was not read: it is damaged, or no checkpoint ({reason}); copy or download it again."


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:200]


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


def install_safe_loader(trust_pickle: bool = False) -> None:
    """Make every path of mmengine to a checkpoint (load_from, resume, Pretrained, hub) go through `read_file`.

    The fork tries `weights_only=True` and then, silently, full pickle; and `Runner.resume` executes `meta['config']`.
    """
    from mmengine.runner import checkpoint as theirs

    def load_from_local(filename: Any, map_location: Any = "cpu", **_: Any) -> Any:
        content = read_file(filename, trust_pickle, map_location)
        meta = content.get("meta") if isinstance(content, dict) else None
        if isinstance(meta, dict) and not trust_pickle:
            meta.pop("config", None)  # nothing writes it (the runner writes `cfg`), and the runner would run it
        return content

    def load_from_remote(filename: str, map_location: Any = None, **_: Any) -> Any:
        raise UserError(
            f"{filename}: mimeval does not download checkpoints; download the file and give its local path."
        )

    def load_buffer(file: Any, map_location: Any = None, weights_only: Any = None) -> Any:
        if isinstance(file, str | os.PathLike):
            return load_from_local(file, map_location)
        raise UserError("a checkpoint in memory was not read: mimeval reads checkpoints from local files.")

    loader = theirs.CheckpointLoader
    for prefix in list(loader._schemes):
        loader.register_scheme(prefix, load_from_remote if prefix else load_from_local, force=True)
    # What registers a scheme later, or calls a loader by its name, still comes to these two.
    theirs._safe_torch_load = load_buffer
    theirs.load_url = load_from_remote
