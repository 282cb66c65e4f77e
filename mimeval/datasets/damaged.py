"""Files that cannot be read: who noticed travels with the sample to the main process, which names and counts them.

Training: SeededDataset takes the next index whose files can be read. Evaluation: NamedSamples shows a black image, so that the set
keeps its size, and takes no account of the pixels of a label map that cannot be read. Either says so in the sample's metainfo
`damaged`, a tuple of `Damage`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mimeval.errors import UserError

LISTING = "damaged.txt"
METAINFO = "damaged"
BLACK = "shown as a black image"
UNLABELLED = "its pixels do not count"
# So many in a row are no damaged files but a disk or a server that is gone.
MOST_IN_A_ROW = 100


class Damage(NamedTuple):
    """One file, what took its place, and what is wrong with it."""

    file: str
    done: str
    reason: str


class DamageLog:
    """`folder/damaged.txt`: one line `file, what took its place, reason` (tabs between) for each damaged file.

    Every process of a run appends to it, a resumed run too; none names a file twice. Both by file, with what took its
    place: `met`, what was noted since, and `named`, what the listing has.

    Raises:
        UserError: by `note`, with `strict`, at the first.
    """

    def __init__(self, folder: str | Path, strict: bool = False) -> None:
        self.file = Path(folder, LISTING)
        self.strict = strict
        self.named = damaged_files(folder)
        self.met: dict[str, str] = {}

    def note(self, samples: Iterable[Any]) -> list[Damage]:
        """Writes down what a batch's samples say of damaged files; returns those that are new to this process."""
        fresh = []
        for sample in samples:
            for entry in sample.metainfo.get(METAINFO, ()) if hasattr(sample, "metainfo") else ():
                damage = Damage(*entry)
                if self.strict:
                    raise UserError(
                        f"{damage.file}: expected a file that can be read, as --strict-data asks, found it damaged "
                        f"({damage.reason}); replace or remove it"
                    )
                self.met[damage.file] = damage.done
                if damage.file not in self.named:
                    self.named[damage.file] = damage.done
                    fresh.append(damage)
        if fresh:
            lines = "".join("\t".join(" ".join(part.split()) for part in damage) + "\n" for damage in fresh)
            self.file.parent.mkdir(parents=True, exist_ok=True)
            # One write to the end of the file, so that the lines of several processes stay whole.
            descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                os.write(descriptor, lines.encode("utf-8", "surrogateescape"))
            finally:
                os.close(descriptor)
        return fresh


def summarised(met: Mapping[str, str], listing: Path) -> str:
    """The last line of a run that met damaged files; `met`: what took the place of each."""
    evaluated = sum(done in (BLACK, UNLABELLED) for done in met.values())
    parts = []
    for count, what in ((len(met) - evaluated, "replaced"), (evaluated, "evaluated as black or without labels")):
        if count:
            parts.append(f"{count} damaged {'image was' if count == 1 else 'images were'} {what}")
    return f"{', '.join(parts)} (names in {listing})"


def damaged_files(folder: str | Path) -> dict[str, str]:
    """The files in a run's damaged.txt, each with what took its place; none if there is no such file."""
    try:
        text = Path(folder, LISTING).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return {}
    parts = [line.split("\t") for line in text.splitlines() if line.count("\t") == 2]
    return {file: done for file, done, _ in parts}
