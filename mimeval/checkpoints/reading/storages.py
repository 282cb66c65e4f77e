"""Tensors as a file describes them, held against its size before a byte of them is read; and the same tensors, read."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimeval.errors import UserError

from .machine import Malformed

MOST_DIMS = 16
# Tensors may share memory; together they may describe this many times the bytes of the file, and the slack on top.
MOST_SHARED = 4
SLACK = 16 << 20
CHUNK = 1 << 22
# madvise(2), where DONTNEED drops pages at once.
_madvise = getattr(ctypes.CDLL(None), "madvise", None) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes of a file that one or more tensors are made of; `crc` where the file notes their checksum."""

    path: Path
    start: int
    nbytes: int
    crc: int | None = None


@dataclass(slots=True)
class Stored:
    """A tensor in a file: what it is and where it lies. Sizes and strides in elements, `offset` from the extent's begin."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    extent: Extent
    offset: int = 0
    parameter: bool = False
    """An nn.Parameter, as torch.save of a module's own tensors writes it."""
    requires_grad: bool = False

    @property
    def numel(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize


class Unusual:
    """Where a tensor stands that is not plain and strided: `kind` says what it is."""

    __slots__ = ("kind",)

    def __init__(self, kind: str):
        self.kind = kind


class Tally:
    """Every tensor of a file of `size` bytes, checked as it is met. bounded: against that size."""

    def __init__(self, size: int, bounded: bool = True):
        self.size = size
        self.bounded = bounded
        self.claimed = 0

    def add(self, dtype: Any, extent: Any, offset: Any, shape: Any, stride: Any, requires_grad: Any = False) -> Stored:
        """Raises Malformed for a negative or absurd shape, and for one that reaches beyond its bytes."""
        if not isinstance(extent, Extent):
            raise Malformed("it has a tensor without a storage")
        if not isinstance(dtype, torch.dtype):
            raise Malformed(f"it has a tensor of {str(dtype)[:40]} values")
        sizes = (offset, *as_sizes(shape), *as_sizes(stride))
        if len(shape) != len(stride) or len(shape) > MOST_DIMS:
            raise Malformed(f"it has a tensor of {len(shape)} dimensions with {len(stride)} strides")
        if any(type(size) is not int or size < 0 or size >= 1 << 48 for size in sizes):
            raise Malformed(f"it has a tensor of shape {list(shape)[:6]}, strides {list(stride)[:6]}, offset {offset}")
        tensor = Stored(dtype, tuple(shape), tuple(stride), extent, offset, requires_grad=requires_grad is True)
        if tensor.numel:
            last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
            if (last + 1) * dtype.itemsize > extent.nbytes:
                raise Malformed(
                    f"it has a tensor of shape {list(shape)} that needs {(last + 1) * dtype.itemsize:,} bytes, of which "
                    f"the file holds {extent.nbytes:,}"
                )
        self.claimed += tensor.nbytes
        if self.bounded and self.claimed > MOST_SHARED * self.size + SLACK:
            raise Malformed(f"its tensors claim {self.claimed:,} bytes, of which the file holds {self.size:,}")
        return tensor


def as_sizes(value: Any) -> tuple:
    if not isinstance(value, tuple | list):
        raise Malformed(f"it has a tensor with {type(value).__name__} for a shape")
    return tuple(value)


class Reader:
    """Makes tensors of what a file describes: `copy` reads their bytes into memory, else they are mapped from the file.

    Tensors that share bytes in the file share them here, too. A mapped tensor costs nothing until it is used; the file
    must stay as it is until then.
    """

    def __init__(self, copy: bool):
        self.copy = copy
        self._maps: dict[Path, torch.UntypedStorage] = {}
        self._read: dict[Extent, torch.UntypedStorage] = {}

    def tensor(self, stored: Stored) -> Tensor:
        """The tensor. UserError if the bytes are not those that were written."""
        storage = self._storage(stored.extent, stored.dtype.itemsize)
        tensor = torch.empty(0, dtype=stored.dtype).set_(storage, stored.offset, stored.shape, stored.stride)  # type: ignore[call-overload]
        if stored.parameter:
            return torch.nn.Parameter(tensor, stored.requires_grad)
        return tensor.requires_grad_(stored.requires_grad and tensor.is_floating_point())

    def let_go(self) -> None:
        """Give the memory behind mapped tensors back: what is used again comes from the file again.

        Else every page that was ever looked at stays, and a conversion would hold its source and its target in full. Whoever has
        written to such a tensor loses that.
        """
        if _madvise is not None:
            for storage in self._maps.values():
                _madvise(ctypes.c_void_p(storage.data_ptr()), ctypes.c_size_t(storage.nbytes()), mmap.MADV_DONTNEED)

    def _storage(self, extent: Extent, itemsize: int) -> torch.UntypedStorage:
        # Where the bytes do not lie as the processor wants them, they have to be copied.
        if extent.nbytes and not self.copy and extent.start % itemsize == 0:
            if extent.path not in self._maps:
                size = os.path.getsize(extent.path)
                self._maps[extent.path] = torch.UntypedStorage.from_file(str(extent.path), False, size)  # type: ignore
            if extent.start + extent.nbytes > self._maps[extent.path].nbytes():
                raise UserError(f"{extent.path} became shorter while it was read; try again.")
            return self._maps[extent.path][extent.start : extent.start + extent.nbytes]  # type: ignore
        if extent not in self._read:
            data = torch.empty(extent.nbytes, dtype=torch.uint8)
            with extent.path.open("rb") as stream:
                stream.seek(extent.start)
                read = stream.readinto(data.numpy().data)
            if read != extent.nbytes:
                raise UserError(f"{extent.path} became shorter while it was read; try again.")
            if extent.crc is not None and zlib.crc32(data.numpy().data) != extent.crc:
                raise UserError(wrong_checksum(extent.path))
            self._read[extent] = data.untyped_storage()
        return self._read[extent]


def wrong_checksum(path: Path, what: str = "its tensors") -> str:
    return f"{path} is damaged (wrong checksum of {what}); copy or download it again."


def check_sum(extent: Extent, what: str = "its tensors") -> None:
    """Raises UserError unless the bytes have the checksum that the file notes, read a little at a time."""
    if extent.crc is None:
        return
    found, left = 0, extent.nbytes
    with extent.path.open("rb") as stream:
        stream.seek(extent.start)
        while left and (chunk := stream.read(min(CHUNK, left))):
            found = zlib.crc32(chunk, found)
            left -= len(chunk)
    if left or found != extent.crc:
        raise UserError(wrong_checksum(extent.path, what))
