"""safetensors files, whole and in shards: their headers, held against their sizes before anything is read by them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from mimeval.errors import UserError

from .machine import Malformed
from .pickled import Content
from .storages import Extent, Stored, Tally

# A header describes some 100,000 tensors in this many bytes; checkpoints have a thousand.
LARGEST_HEADER = 16 << 20
SHARDS = (".safetensors", ".bin", ".pth", ".pt")
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}


def read_safetensors(path: Path) -> Content:
    """`{'state_dict': {...}, 'meta': {...}}` of a safetensors file. Raises Malformed."""
    size = os.path.getsize(path)
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > size - 8:
            raise Malformed(f"its header claims {length:,} bytes, and the whole file has {size:,}")
        if length > LARGEST_HEADER:
            raise Malformed(f"its header claims {length:,} bytes, which no checkpoint needs")
        header = _json(stream.read(length), "its header")
    meta = header.pop("__metadata__", {})
    if not isinstance(meta, dict) or not all(isinstance(value, str) for value in meta.values()):
        raise Malformed("its metadata are not text")
    tally = Tally(size)
    state = {name: _tensor(path, name, entry, 8 + length, size, tally) for name, entry in header.items()}
    _check_apart(state, 8 + length, size)
    return Content(path, "safetensors", {"state_dict": state, "meta": meta}, size)


def _tensor(path: Path, name: str, entry: Any, begin: int, size: int, tally: Tally) -> Stored:
    shown = name[:80]
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise Malformed(f"its header describes {shown} otherwise than by dtype, shape and data_offsets")
    dtype = DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise Malformed(
            f"its header gives {shown} the dtype {str(entry['dtype'])[:40]}, which is none of {', '.join(DTYPES)}"
        )
    offsets = entry["data_offsets"]
    if not isinstance(offsets, list) or len(offsets) != 2 or any(type(offset) is not int for offset in offsets):
        raise Malformed(f"its header gives {shown} the offsets {str(offsets)[:60]}")
    first, last = offsets
    if not 0 <= first <= last <= size - begin:
        raise Malformed(f"its header puts {shown} at bytes {first:,} to {last:,} of {size - begin:,}")
    shape = entry["shape"]
    if not isinstance(shape, list) or any(type(side) is not int or side < 0 or side >= 1 << 48 for side in shape):
        raise Malformed(f"its header gives {shown} the shape {str(shape)[:60]}")
    stride: list[int] = []
    step = 1
    for side in reversed(shape):
        stride.insert(0, step)
        step *= max(side, 1)
    if (0 if 0 in shape else step) * dtype.itemsize != last - first:
        raise Malformed(
            f"its header gives {shown} {last - first:,} bytes for the shape {str(shape)[:60]} of {entry['dtype']}"
        )
    return tally.add(
        dtype, Extent(path, begin + first, last - first), 0, shape, [step if step < 1 << 48 else 0 for step in stride]
    )


def _check_apart(state: dict[str, Stored], begin: int, size: int) -> None:
    # The format allows neither holes nor overlaps, which would hide data or say it twice.
    end = begin
    for stored in sorted(state.values(), key=lambda stored: (stored.extent.start, stored.extent.nbytes)):
        if stored.extent.start != end:
            raise Malformed("its header leaves holes between tensors, or lets them overlap")
        end += stored.extent.nbytes
    if end != size:
        raise Malformed(f"its header describes {end:,} bytes of {size:,}")


def read_sharded(index: Path) -> Content:
    """The files that a Hugging Face index (`*.index.json`) names, as one. UserError if they do not fit together."""
    from .source import read_content

    content = _json(index.read_bytes(), "its text") if os.path.getsize(index) <= LARGEST_HEADER else {}
    names = content.get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise UserError(
            f"{index} is JSON text, no checkpoint: expected a checkpoint file, or an index with the weight_map of its shards."
        )
    state: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    size = os.path.getsize(index)
    unlisted: dict[str, None] = {}
    called: dict[str, None] = {}
    for name in dict.fromkeys(names.values()):
        file = index.parent / _plain_name(index, name)
        if not file.is_file():
            raise UserError(
                f"{index} names the shard {name}, which is not there; put all shards into the folder of the index."
            )
        shard = read_content(file, shard=True)
        tensors = shard.tree.get("state_dict", shard.tree) if isinstance(shard.tree, dict) else {}
        if not isinstance(tensors, dict):
            raise UserError(f"{index} names the shard {name}, which holds no named tensors; download it again.")
        lacking = [key for key, place in names.items() if place == name and key not in tensors]
        extra = [key for key in tensors if names.get(key) != name]
        if lacking or extra:
            what = (
                f"{len(lacking)} that it should hold are missing" if lacking else f"{len(extra)} are not in the index"
            )
            first = str((lacking or extra)[0])[:80]
            raise UserError(f"{index}: of the tensors of {name} {what} (the first: {first}); download both again.")
        state |= tensors
        meta |= shard.tree.get("meta") or {} if shard.format == "safetensors" else {}
        size += shard.size
        called |= dict.fromkeys(shard.globals)
        unlisted |= dict.fromkeys(shard.unlisted)
    return Content(index, "sharded", {"state_dict": state, "meta": meta}, size, list(called), list(unlisted))


def _plain_name(index: Path, name: str) -> str:
    if any(mark in name for mark in "/\\:\0") or name[:1] in ("~", ".") or not name.endswith(SHARDS):
        raise UserError(
            f"{index} names the shard {name[:120]!r}: expected the plain name of a checkpoint file beside it ({', '.join(SHARDS)}); "
            "do not use this index."
        )
    return name


def _json(text: bytes, what: str) -> dict[str, Any]:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            raise Malformed(f"{what} has a name twice")
        return found

    try:
        content = json.loads(text.decode("utf-8"), object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{what} is no JSON ({' '.join(str(error).split())[:80]})") from None
    if not isinstance(content, dict):
        raise Malformed(f"{what} is no JSON object")
    return content
