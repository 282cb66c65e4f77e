"""Files that nobody ever meets half-written. Imports nothing heavy."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, save: Callable[[Path], object]) -> None:
    """`save(temporary)` beside `path`, on the disk before it takes the name `path`; whatever fails leaves nothing there.

    Folders on the way are made. Raises what `save` raises, and OSError.
    """
    with new_file(path) as temporary:
        save(temporary)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """As `write_whole`, for what is written within; it gives the temporary file, empty."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp's files are private
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
