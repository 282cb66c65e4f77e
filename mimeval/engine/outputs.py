"""The folder of a run: found writable before anything is computed, left as it was if the run does not begin."""

from __future__ import annotations

import math
import re
import shutil
import tempfile
from pathlib import Path

from mimeval.checkpoints.state import check_whole, read_file
from mimeval.engine.live import say
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
    """The newest whole checkpoint of a run. Those that are damaged are passed over, with a sentence on stderr."""
    damaged = []
    for path in _newest_first(Path(work_dir)):
        if reason := _fault(path):
            damaged.append(reason)
            continue
        if damaged:
            say(f"{'; '.join(damaged)}; the one before, {path.name}, is used instead")
        return path
    if damaged:
        say(f"{'; '.join(damaged)}; no other checkpoint is there")
    return None


def checkpoint_names(work_dir: str | Path) -> list[str]:
    """The checkpoints of a run's folder, whole or not, by name."""
    return sorted(path.name for path in _candidates(Path(work_dir)))


def train_seconds(checkpoint: Path) -> float:
    """The time that a run had spent in its steps when it wrote a checkpoint."""
    hub = read_file(checkpoint, mmap=True).get("message_hub") or {}
    return float((hub.get("runtime_info") or {}).get("train_wall_s", 0.0))


def _newest_first(folder: Path) -> list[Path]:
    """By the iterations that they have seen; what cannot be read comes first, so that it is met and named."""
    noted, written = _noted(folder)
    iterations = {path: _iteration(path) for path in _candidates(folder)}
    if noted in iterations and math.isfinite(iterations[noted]):
        # Whoever went back to an earlier checkpoint left later ones behind. One that was written after the note is the
        # run's own: it ended between the two.
        last = iterations[noted]
        iterations = {
            path: done
            for path, done in iterations.items()
            if done <= last or math.isinf(done) or path.stat().st_mtime_ns > written
        }
    return sorted(iterations, key=lambda path: (iterations[path], path == noted, path.name), reverse=True)


def _candidates(folder: Path) -> set[Path]:
    noted, _ = _noted(folder)
    numbered = {path for path in folder.glob("*.pth") if re.fullmatch(r"(?:epoch|iter)_\d+", path.stem)}
    return numbered | {noted} if noted is not None else numbered


def _noted(folder: Path) -> tuple[Path | None, int]:
    """What the run noted as its last checkpoint, if it is there, and when it noted it (ns)."""
    note = folder / "last_checkpoint"
    if note.is_file():
        # By name: the folder may have been moved since the absolute path was noted.
        noted = folder / Path(note.read_text(encoding="utf-8", errors="replace").strip()).name
        if noted.is_file():
            return noted, note.stat().st_mtime_ns
    return None, 0


def _iteration(path: Path) -> float:
    """The iterations that a checkpoint has seen; -1 if it does not say, infinity if it cannot be read."""
    try:
        content = read_file(path, mmap=True)
    except UserError:
        return math.inf
    meta = content.get("meta") if isinstance(content, dict) else None
    done = meta.get("iter") if isinstance(meta, dict) else None
    return done if isinstance(done, int) else -1


def _fault(path: Path) -> str:
    """Why a checkpoint cannot be gone on from; empty if it can."""
    try:
        check_whole(path)
        read_file(path, mmap=True)
    except UserError as error:
        return str(error).partition(";")[0].rstrip(".")
    return ""


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
            f"{path}: expected a checkpoint file or the folder of a run, found a folder without whole checkpoints; give a file"
        )
    return newest
