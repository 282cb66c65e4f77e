"""The zip archives of torch.save: where each tensor's bytes lie, from the archive's directory, held against the file's size."""

from __future__ import annotations

import os
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mimeval.errors import UserError

from .machine import Malformed
from .storages import Extent

LARGEST_DIRECTORY = 32 << 20
END = b"PK\x05\x06"
LOCAL = struct.Struct("<4s22xHH")


@dataclass(frozen=True)
class Archive:
    """path: the file. records: name without the archive's own folder -> its bytes."""

    path: Path
    records: dict[str, Extent]

    def read(self, name: str) -> bytes:
        """A record's bytes. Raises Malformed if there is none of this name."""
        extent = self.records.get(name)
        if extent is None:
            raise Malformed(f"it has no {name}")
        with self.path.open("rb") as stream:
            stream.seek(extent.start)
            return stream.read(extent.nbytes)


def open_archive(path: Path) -> Archive:
    """The archive's records. UserError for an archive of something else, Malformed for one that contradicts itself."""
    size = os.path.getsize(path)
    with path.open("rb") as stream:
        _check_directory(path, stream, size)
        try:
            entries = zipfile.ZipFile(stream).infolist()
        except Exception as error:  # a damaged directory can fail with any exception at all
            raise Malformed(f"its directory cannot be read ({_short(error)})") from None
        names = [entry.filename for entry in entries]
        pickles = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
        _check_kind(path, names, pickles)
        folder = pickles[0].removesuffix("data.pkl")
        read_apart(stream)
        records: dict[str, Extent] = {}
        declared = sum(entry.file_size for entry in entries)
        if declared > size:
            raise Malformed(f"its {len(entries)} parts declare {declared:,} bytes, and the whole file has {size:,}")
        for entry in entries:
            name = entry.filename.removeprefix(folder)
            if name in records:
                raise Malformed(f"it has {name} twice")
            records[name] = _extent(path, stream, size, entry)
    _check_apart(records)
    return Archive(path, records)


def read_apart(stream: BinaryIO) -> None:
    """Tells the system that small parts of a file are read here and there: it need not read on behind each."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_RANDOM)


def _check_directory(path: Path, stream: BinaryIO, size: int) -> None:
    # Before zipfile reads it whole: there is one, and it is no larger than a checkpoint's.
    stream.seek(max(0, size - (1 << 16) - 22))
    tail = stream.read()
    at = tail.rfind(END)
    if at < 0 or len(tail) - at < 22:
        raise UserError(f"{path} is cut short (its end is missing); copy or download it again.")
    length = struct.unpack_from("<L", tail, at + 12)[0]
    if length == 0xFFFFFFFF and at >= 20 and tail[at - 20 : at - 16] == b"PK\x06\x07":
        begin = struct.unpack_from("<Q", tail, at - 12)[0]
        stream.seek(min(begin, size))
        record = stream.read(56)
        length = struct.unpack_from("<Q", record, 40)[0] if len(record) == 56 else size
    if length > min(size, LARGEST_DIRECTORY):
        raise Malformed(f"its directory claims {length:,} bytes")


def _check_kind(path: Path, names: list[str], pickles: list[str]) -> None:
    if any(name.endswith("/constants.pkl") for name in names) and any("/code/" in name for name in names):
        raise UserError(
            f"{path} is a TorchScript archive, which holds a program: expected a state dict; load it with torch.jit.load where "
            "you trust it, and save its state_dict()."
        )
    if not pickles:
        arrays = names and all(name.endswith(".npy") for name in names)
        found = "it holds numpy arrays and has no data.pkl" if arrays else "it has no data.pkl"
        raise UserError(f"{path} is a zip archive but no checkpoint: {found}, which torch.save writes.")
    if len(pickles) > 1:
        raise Malformed(f"it has {len(pickles)} records data.pkl")


def _extent(path: Path, stream: BinaryIO, size: int, entry: zipfile.ZipInfo) -> Extent:
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size or entry.flag_bits & 1:
        raise Malformed(
            f"{entry.filename[:80]} is compressed or encrypted ({entry.compress_size:,} bytes for {entry.file_size:,}), as "
            "torch.save writes none"
        )
    stream.seek(max(entry.header_offset, 0))
    header = stream.read(LOCAL.size)
    signature, name, extra = LOCAL.unpack(header) if len(header) == LOCAL.size else (b"", 0, 0)
    start = entry.header_offset + LOCAL.size + name + extra
    if signature != b"PK\x03\x04" or start + entry.file_size > size:
        raise Malformed(f"{entry.filename[:80]} is not where its directory says")
    # 0 is what torch notes where it was told to compute none.
    return Extent(path, start, entry.file_size, entry.CRC or None)


def _check_apart(records: dict[str, Extent]) -> None:
    end = 0
    for extent in sorted((extent for extent in records.values() if extent.nbytes), key=lambda extent: extent.start):
        if extent.start < end:
            raise Malformed("its parts overlap")
        end = extent.start + extent.nbytes


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:100] or type(error).__name__
