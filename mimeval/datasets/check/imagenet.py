"""imagenet/{train,val}: a folder per class in both splits, or a flat split with its list meta/<split>.txt."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from pathlib import Path

from mimeval.datasets.check.files import Finding, Result, Task
from mimeval.datasets.check.listing import Contents, Place, ignored, misplaced_split, walk
from mimeval.datasets.images import class_folders, read_list
from mimeval.datasets.paths import DataFile, part_of
from mimeval.errors import UserError

SPLITS = ("train", "val")


class ImageNet:
    """The layout's files, and what their folders and names show; `take` and `finish` add what their contents show."""

    def __init__(self, root: Path | DataFile) -> None:
        self.findings: list[Finding] = []
        self._root = root
        self._files: list[str] = []
        self._places: list[Place] = []
        self._of = array("l")  # of each file its number in _places
        self._contents = Contents()
        self._classes: dict[str, list[str]] = {}
        self._flat: set[str] = set()
        for split in SPLITS:
            folder = part_of(root, "imagenet", split)
            if folder.is_dir():
                self._classes[split] = class_folders(folder)
            else:
                self.findings.append(Finding("split", str(folder), "no such folder"))
        for split, classes in self._classes.items():
            folder = part_of(root, "imagenet", split)
            self._read_classes(split, folder, classes) if classes else self._read_flat(split, folder)
        self._compare()

    def __len__(self) -> int:
        return len(self._files)

    def tasks(self) -> Iterator[Task]:
        """One per image."""
        for place, file in enumerate(self._files):
            yield Task(place, file)

    def take(self, result: Result) -> None:
        """Remember what a worker saw."""
        self._contents.add(result.place, result.digest)

    def finish(self) -> None:
        """After the last image: equal contents."""
        self.findings += self._contents.findings(self._files.__getitem__, lambda number: self._places[self._of[number]])

    def _read_classes(self, split: str, folder: Path, classes: list[str]) -> None:
        known = set(classes)
        for name in classes:
            images, others = walk(folder / name)
            self.findings += ignored(folder / name, others)
            if not images:
                self.findings.append(Finding("no-images", str(folder / name), "an empty class folder"))
            for image in images:
                file = os.path.join(folder, name, image)
                self._add(file, split, name)
                stated = os.path.basename(image).partition("_")[0]
                if stated in known and stated != name:
                    self.findings.append(Finding("misplaced", file, f"its name says class {stated}, its folder {name}"))
        loose = sorted(entry.name for entry in os.scandir(folder) if entry.is_file() and not entry.name.startswith("."))
        for name in loose:
            self.findings.append(Finding("unlisted", os.path.join(folder, name), "below no class folder"))

    def _read_flat(self, split: str, folder: Path) -> None:
        images, others = walk(folder)
        self.findings += ignored(folder, others)
        file = part_of(self._root, "imagenet", "meta") / f"{split}.txt"
        if not images:
            self.findings.append(Finding("no-images", str(folder), "neither class folders nor images"))
            return
        self._flat.add(split)
        if not file.is_file():
            self.findings.append(
                Finding("class-folders", str(folder), f"no class folders, and no list {file} of labels")
            )
            entries = []
        else:
            try:
                entries = read_list(file)
            except UserError as error:
                self.findings.append(Finding("annotations", str(file), str(error)))
                entries = []
        names = self._classes.get("train") or []
        listed: set[str] = set()
        for path, label in entries:
            if path in listed:
                self.findings.append(Finding("duplicate-id", str(file), f"{path} is listed twice"))
                continue
            listed.add(path)
            number = int(label) if label.isdecimal() else None
            if label not in names and names and (number is None or number >= len(names)):
                self.findings.append(Finding("category", str(file), f"{path}: label {label} of {len(names)} classes"))
            elif label not in names and number is not None and names:
                label = names[number]
            self._add(os.path.join(folder, path), split, label)
        for image in images:
            if image not in listed:
                path = os.path.join(folder, image)
                if entries:
                    self.findings.append(Finding("unlisted", path, f"not in {file}"))
                self._add(path, split, "")

    def _add(self, file: str, split: str, label: str) -> None:
        place = Place(split, label)
        if not self._places or self._places[-1] != place:
            self._places.append(place)
        self._files.append(file)
        self._of.append(len(self._places) - 1)
        self.findings += misplaced_split(file, split)

    def _compare(self) -> None:
        if set(self._classes) != set(SPLITS) or self._flat:
            return
        for split, other in (SPLITS, SPLITS[::-1]):
            for name in sorted(set(self._classes[split]) - set(self._classes[other])):
                folder = part_of(self._root, "imagenet", split) / name
                self.findings.append(Finding("class-folders", str(folder), f"a class of {split} only"))
