"""What a path leads to, by its first bytes; whatever is no checkpoint is refused in one sentence."""

from __future__ import annotations

import os
import re
import stat
import struct
from pathlib import Path

from mimeval.errors import UserError

from .machine import Malformed
from .pickled import Content, read_plain, read_zip
from .tensorfile import LARGEST_HEADER, read_safetensors, read_sharded

REMOTE = re.compile(r"^[A-Za-z][\w.+-]*:(\S+:)?//")
ZIP = b"PK\x03\x04"
HEAD = 1024
# First bytes of what people mistake for checkpoints.
OTHERS = (
    (b"\x1f\x8b", "a gzip archive; unpack it"),
    (b"BZh", "a bzip2 archive; unpack it"),
    (b"\xfd7zXZ", "an xz archive; unpack it"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it"),
    (b"Rar!", "a rar archive; unpack it"),
    (b"\x89HDF", "an HDF5 file, as Keras writes it; convert it with its own framework"),
    (b"\x93NUMPY", "a single numpy array; a checkpoint has many, by name"),
    (b"GGUF", "a GGUF file; convert it with its own framework"),
)


def read_content(path: str | os.PathLike, shard: bool = False) -> Content:
    """A checkpoint file's content with its tensors described, nothing run and no tensor read. A shard is no index itself.

    Raises UserError, one sentence, for whatever cannot be read: an address, a folder, an empty or damaged file, other content.
    """
    if REMOTE.match(str(path)):
        raise UserError(f"{path}: mimeval does not download checkpoints; download the file and give its local path.")
    file = Path(path).expanduser()
    head = _head(file)
    try:
        if head[:4] == ZIP:
            return read_zip(file)
        if _is_safetensors(head):
            return read_safetensors(file)
        if head[:1] == b"{" and not shard:
            return read_sharded(file)
        _refuse_others(file, head)
        return read_safetensors(file) if file.suffix == ".safetensors" else read_plain(file)
    except Malformed as error:
        raise damaged(file, error) from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}.") from None


def damaged(file: Path, error: Malformed) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(f"{file} is damaged or no checkpoint: {reason}; copy or download it again.")


def refuse_unlisted(content: Content) -> None:
    """Raises UserError, with their names, if a file calls for more than tensors and the types on the list."""
    if not content.unlisted:
        return
    names = ", ".join(content.unlisted[:8])
    more = f" and {len(content.unlisted) - 8} more" if len(content.unlisted) > 8 else ""
    raise UserError(
        f"{content.path} was not read: it is a pickle that calls for {names}{more}, which no checkpoint needs; "
        "`mimeval convert --trust-pickle` reads it all the same, which runs whatever code the file contains."
    )


def _head(file: Path) -> bytes:
    # The first bytes, after every reason for which there can be none.
    try:
        mode = file.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UserError(_folder(file))
        if not stat.S_ISREG(mode):
            raise UserError(f"{file} is no regular file, where a checkpoint file is expected.")
        with file.open("rb") as stream:
            head = stream.read(HEAD)
    except FileNotFoundError:
        raise UserError(f"{file} does not exist; give the path of a checkpoint file.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if not head:
        raise UserError(f"{file} is empty (0 bytes); the download or the copy did not finish.")
    return head


def _folder(file: Path) -> str:
    inside = sorted(entry.name for entry in file.iterdir() if entry.is_file())
    best = [
        name
        for ending in (".index.json", ".safetensors", ".pth", ".bin", ".pt")
        for name in inside
        if name.endswith(ending)
    ]
    hint = f"; it holds {best[0]}: give {file / best[0]}" if best else ""
    return f"{file} is a folder, where a checkpoint file is expected{hint}."


def _is_safetensors(head: bytes) -> bool:
    return len(head) > 9 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= LARGEST_HEADER


def _refuse_others(file: Path, head: bytes) -> None:
    text = head.lstrip().lower()
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        size = re.search(rb"size (\d+)", head)
        stands = f" for a file of {int(size[1]):,} bytes" if size else ""
        raise UserError(f"{file} is a Git LFS pointer{stands}, not the file itself; fetch it with `git lfs pull`.")
    if text.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head")):
        raise UserError(
            f"{file} is an HTML page saved under this name, no checkpoint; open it in a browser to see what the server said, and "
            "download the file again."
        )
    for start, what in OTHERS:
        if head.startswith(start):
            raise UserError(
                f"{file} is no checkpoint: expected a file by torch.save or a safetensors file, found {what}."
            )
    if head[257:262] == b"ustar":
        raise UserError(
            f"{file} is a tar archive, or by torch before 0.1.10; unpack it, or save it again with a later torch."
        )
    if head[:1] != b"\x80" and file.suffix != ".safetensors":
        raise UserError(
            f"{file} is no checkpoint: expected a file by torch.save or a safetensors file, found {head[:8]!r}."
        )
