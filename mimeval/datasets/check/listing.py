"""What the layouts' checks share: the files of a folder, names that give a file's split away, equal contents."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mimeval.datasets.check.files import Finding
from mimeval.datasets.images import EXTENSIONS

# ILSVRC2012_val_00000001, ADE_train_00000001, COCO_val2014_000000000042: the split, then a number at the end.
_SPLIT_IN_NAME = re.compile(r"(?:^|_)(train|val|test)\d{0,4}_\d+$")


class Place(NamedTuple):
    """Where a file lies: its split, and its class or ''."""

    split: str
    label: str


def walk(folder: Path) -> tuple[list[str], list[str]]:
    """Images and other files below a folder as sorted paths relative to it; hidden files and folders are those of tools."""
    images: list[str] = []
    others: list[str] = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = os.path.relpath(parent, folder)
        for name in names:
            if not name.startswith("."):
                path = name if below == "." else os.path.join(below, name)
                (images if name.lower().endswith(EXTENSIONS) else others).append(path)
    return sorted(images), sorted(others)


def ignored(folder: Path, names: list[str]) -> list[Finding]:
    """Remarks about files that no reader takes for images."""
    return [
        Finding("ignored", os.path.join(folder, name), f"extension {os.path.splitext(name)[1] or 'none'}")
        for name in names
    ]


def misplaced_split(file: str, split: str) -> list[Finding]:
    """A finding if the name says that the file belongs to another split (train, val or test)."""
    match = _SPLIT_IN_NAME.search(os.path.splitext(os.path.basename(file))[0])
    if match is None or match[1] == split:
        return []
    return [Finding("misplaced", file, f"its name says {match[1]}, its folder {split}")]


class Contents:
    """Hashes of file contents, 16 bytes each: a million files are 16 MB."""

    def __init__(self) -> None:
        self._digests = array("Q")
        self._places = array("q")

    def add(self, place: int, digest: int | None) -> None:
        """Remember the content of the file number `place`."""
        if digest is not None:
            self._digests.append(digest)
            self._places.append(place)

    def repeated(self) -> Iterator[list[int]]:
        """Numbers of the files of each content that occurs more than once, ascending."""
        if not self._digests:
            return
        digests = np.frombuffer(self._digests, np.uint64)
        places = np.frombuffer(self._places, np.int64)
        order = np.lexsort((places, digests))
        begins = np.flatnonzero(np.r_[True, digests[order][1:] != digests[order][:-1]])
        for begin, end in zip(begins, np.r_[begins[1:], len(order)], strict=True):
            if end - begin > 1:
                yield places[order[begin:end]].tolist()

    def findings(self, file: Callable[[int], str], place: Callable[[int], Place]) -> Iterator[Finding]:
        """Equal contents: in two splits, in two classes, or twice in one."""
        for group in self.repeated():
            first, *rest = group
            for other in rest:
                here, there = place(other), place(first)
                kind = "two-splits" if here.split != there.split else "duplicate"
                if kind == "duplicate" and here.label != there.label:
                    kind = "two-classes"
                yield Finding(kind, file(other), f"the same bytes as {file(first)}")
