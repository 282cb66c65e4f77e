"""The folder of a run: found writable before anything is computed, left as it was if the run does not begin."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from mimeval.errors import UserError


class WorkDir:
    """A folder to be written; `discard` takes away what was added since.

    Raises:
        UserError: the folder cannot be made or written.
    """

    def __init__(self, path: str | Path, flag: str = "--work-dir") -> None:
        self.path = Path(path).expanduser().resolve()
        self._made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        self._before = set(self.path.iterdir()) if self.path.is_dir() else set()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            self.discard()
            raise UserError(
                f"{flag} {path}: expected a folder that can be written, found: {error.strerror or error}; "
                "choose another"
            ) from error

    def discard(self) -> None:
        """Remove what was not there before; other files, and folders that others now use, stay."""
        for entry in set(self.path.iterdir()) - self._before if self.path.is_dir() else ():
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:
                return


def latest_checkpoint(work_dir: str | Path) -> Path | None:
    """The newest whole checkpoint of a run: the one that mmengine noted, else the highest epoch or iteration."""
    folder = Path(work_dir)
    note = folder / "last_checkpoint"
    if note.is_file():
        # By name: the folder may have been moved since the absolute path was noted.
        noted = folder / Path(note.read_text().strip()).name
        if noted.is_file():
            return noted
    numbered = [
        (int(match[1]), path)
        for path in folder.glob("*.pth")
        if (match := re.fullmatch(r"(?:epoch|iter)_(\d+)", path.stem))
    ]
    return max(numbered)[1] if numbered else None


def checkpoint_of(path: str | Path) -> str | Path:
    """A checkpoint named by a user: the file itself, or the newest whole one of a run's folder.

    Raises:
        UserError: a folder without a checkpoint. Whether a file is one, its reader says.
    """
    given = Path(path).expanduser()
    if not given.is_dir():
        return path  # as it was given: an address is no path
    newest = latest_checkpoint(given)
    if newest is None:
        raise UserError(
            f"{path}: expected a checkpoint file or the folder of a run, found a folder without checkpoints; give a file"
        )
    return newest
