"""PNG pictures of a run, checked and ready to be embedded."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """A PNG file: its name without the ending, width and height in pixels, its bytes."""

    name: str
    width: int
    height: int
    content: bytes

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.content).decode()

    @property
    def title(self) -> str:
        """The name in words: `epoch_000020` is 'epoch 20'."""
        return re.sub(r"\d+", lambda digits: str(int(digits[0])), self.name).replace("_", " ").strip()


@dataclass(frozen=True)
class Gallery:
    """The pictures of a folder that are shown, of how many there are, and a sentence for each that cannot be shown."""

    pictures: Sequence[Picture] = ()
    total: int = 0
    faults: Sequence[str] = ()


def read_pictures(folder: Path, most: int) -> Gallery:
    """Up to ``most`` pictures of a folder, evenly spaced, the first and the last among them."""
    paths = sorted(folder.glob("*.png"), key=lambda path: _natural(path.name))
    pictures, faults = [], []
    for path in _spread(paths, most):
        try:
            content = path.read_bytes()
        except OSError as error:
            faults.append(f"{path.name} in {folder.name} cannot be read ({error.strerror}) and is left out.")
            continue
        # A PNG begins with its signature and the header chunk, and ends with an empty IEND chunk.
        if not content.startswith(SIGNATURE) or len(content) < 45 or b"IEND" not in content[-12:]:
            faults.append(f"{path.name} in {folder.name} is no whole PNG file and is left out.")
            continue
        pictures.append(
            Picture(path.stem, int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big"), content)
        )
    return Gallery(pictures, len(paths), faults)


def _natural(name: str) -> list:
    # epoch_9 before epoch_10
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _spread(paths: list[Path], most: int) -> list[Path]:
    if len(paths) <= most:
        return paths
    return [paths[round(k * (len(paths) - 1) / max(1, most - 1))] for k in range(most)]
