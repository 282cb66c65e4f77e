"""The files of torch.save, zip and legacy, and plain pickles of numpy arrays: their content with tensors described."""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch

from .allowed import build_machine
from .archive import open_archive, read_apart
from .machine import Malformed, Result
from .storages import Extent, Tally, Unusual

MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001


@dataclass
class Content:
    """A file, read as far as its tensors' names, shapes and places."""

    path: Path
    format: str
    tree: Any
    """The file's object: plain data, `Stored` where a tensor stands, `Opaque` where an unlisted object does."""
    size: int
    globals: list[str] = field(default_factory=list)
    """Every name that its pickle calls for."""
    unlisted: list[str] = field(default_factory=list)
    """Those of them that are not on the list."""


def read_zip(path: Path) -> Content:
    """A file by torch.save since version 1.6. Raises Malformed and UserError."""
    archive = open_archive(path)
    order = archive.read("byteorder").strip() if "byteorder" in archive.records else b"little"

    def load(identity: Any) -> Any:
        kind, name, _, count = _storage(identity)
        if isinstance(kind, str):
            return Unusual("quantized")
        extent = archive.records.get(f"data/{name}")
        if extent is None:
            raise Malformed(f"it has a tensor in data/{str(name)[:40]}, which is not there")
        if count * kind.itemsize != extent.nbytes:
            raise Malformed(
                f"it has a tensor of {count * kind.itemsize:,} bytes in data/{name}, which has {extent.nbytes:,}"
            )
        if order == b"big" and kind.itemsize > 1:
            raise Malformed("it was written on a big-endian machine")
        return extent, kind

    size = os.path.getsize(path)
    found = build_machine(Tally(size), load).run(io.BytesIO(archive.read("data.pkl")))
    return Content(path, "torch zip", found.value, size, found.globals, found.unlisted)


def read_plain(path: Path) -> Content:
    """A file by torch.save before version 1.6, or a plain pickle. Raises Malformed."""
    size = os.path.getsize(path)
    with path.open("rb") as file:
        first = build_machine(Tally(size), _no_storage).run(file)
        if first.value != MAGIC or isinstance(first.value, bool | float):
            return Content(path, "pickle", first.value, size, first.globals, first.unlisted)
        protocol = build_machine(Tally(size), _no_storage).run(file, first.end)
        if protocol.value != LEGACY_PROTOCOL:
            raise Malformed(f"it says protocol {str(protocol.value)[:40]}, where torch.save wrote {LEGACY_PROTOCOL}")
        system = build_machine(Tally(size), _no_storage).run(file, protocol.end)
        if isinstance(system.value, dict) and system.value.get("little_endian") is False:
            raise Malformed("it was written on a big-endian machine")
        found = _legacy(path, size, file, system.end)
    return Content(path, "torch legacy", found.value, size, found.globals, found.unlisted)


def _legacy(path: Path, size: int, file: BinaryIO, start: int) -> Result:
    # The tensors' bytes stand behind the object, which is therefore read twice: for their sizes, and with their places.
    sizes: dict[str, tuple[int, int]] = {}

    def note(identity: Any) -> Any:
        if _is_module(identity):
            return identity[1]
        kind, name, _, count = _storage(identity)
        itemsize = 1 if isinstance(kind, str) else kind.itemsize
        known = sizes.setdefault(name, (count, itemsize))
        if isinstance(kind, str):
            return Unusual("quantized")
        if known[0] * known[1] < count * itemsize:
            raise Malformed(f"it has one storage in two sizes, {known[0]:,} and {count:,}")
        # As large as any: what is too large for the file shows when the places are known.
        return Extent(path, 0, 1 << 62), kind

    first = build_machine(Tally(size, bounded=False), note).run(file, start)
    keys = build_machine(Tally(size), _no_storage).run(file, first.end)
    places = _places(path, size, file, keys, sizes)

    def load(identity: Any) -> Any:
        if _is_module(identity):
            return identity[1]
        kind, name, view, count = _storage(identity)
        if isinstance(kind, str):
            return Unusual("quantized")
        if name not in places:
            raise Malformed(f"it has a tensor in storage {name[:40]}, which is not there")
        extent = places[name]
        if view is not None:
            if type(view) is not tuple or len(view) != 3 or any(type(part) is not int or part < 0 for part in view[1:]):
                raise Malformed("it has a part of a storage without its place")
            begin, length = view[1] * kind.itemsize, view[2] * kind.itemsize
            if begin + length > extent.nbytes:
                raise Malformed(
                    f"it has a part of a storage that ends behind it ({begin + length:,} of {extent.nbytes:,})"
                )
            extent = Extent(path, extent.start + begin, length)
        return extent, kind

    return build_machine(Tally(size), load).run(file, start)


def _places(
    path: Path, size: int, file: BinaryIO, keys: Result, sizes: dict[str, tuple[int, int]]
) -> dict[str, Extent]:
    if not isinstance(keys.value, list) or not all(isinstance(key, str) for key in keys.value):
        raise Malformed("it has no list of its storages")
    places: dict[str, Extent] = {}
    position = keys.end
    read_apart(file)
    for key in keys.value:
        if key not in sizes or key in places or position + 8 > size:
            raise Malformed(f"its storage {key[:40]} is not there or belongs to no tensor")
        count, itemsize = sizes[key]
        file.seek(position)
        (noted,) = struct.unpack("<q", file.read(8))
        nbytes = count * itemsize
        if noted != count:
            raise Malformed(f"its storage {key[:40]} has {noted:,} values, where {count:,} were said")
        if position + 8 + nbytes > size:
            raise Malformed(f"its storage {key[:40]} needs {nbytes:,} bytes, and {size - position - 8:,} are left")
        places[key] = Extent(path, position + 8, nbytes)
        position += 8 + nbytes
    return places


def _storage(identity: Any) -> tuple[Any, str, Any, int]:
    # ('storage', class, key, device, number of values[, (key, offset, size) of a part of it])
    if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
        raise Malformed("its pickle refers to something that is no storage")
    _, kind, name, _, count = identity[:5]
    if not isinstance(kind, str | torch.dtype):
        raise Malformed(f"it has a storage of class {str(kind)[:60]}")
    if not isinstance(name, str) or type(count) is not int or not 0 <= count < 1 << 48:
        raise Malformed(f"it has a storage of {str(count)[:40]} values")
    return kind, name, identity[5] if len(identity) == 6 else None, count


def _is_module(identity: Any) -> bool:
    # ('module', class, source file, source): how whole modules were pickled.
    return type(identity) is tuple and len(identity) > 1 and identity[0] == "module"


def _no_storage(_: Any) -> Any:
    raise Malformed("its pickle refers to tensors that are not in it")
