"""ade20k/{images,annotations}/{training,validation}: one label map per image, 0 for what is not labelled."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mimeval.datasets.check.files import Finding, Result, Task
from mimeval.datasets.check.listing import Contents, Place, ignored, misplaced_split, walk
from mimeval.datasets.images import read_lines
from mimeval.datasets.paths import DataFile, part_of
from mimeval.errors import UserError

SPLITS = ("training", "validation")
_STATED = {"training": "train", "validation": "val"}  # as in ADE_train_00000001
CLASSES = 150


class ADE20K:
    """The layout's images and label maps. `classes`: how many there are besides 0; by default the lines of classes.txt, or 150."""

    def __init__(self, root: Path | DataFile, classes: int | None = None) -> None:
        self.findings: list[Finding] = []
        self._root = root
        self._files: list[str] = []
        self._split_of = array("b")
        self._contents = Contents()
        self._images: dict[str, list[str]] = {}
        self._labels: dict[str, dict[str, str]] = {}
        self._present = {split: np.zeros(256, bool) for split in SPLITS}
        self._names = self._class_names()
        self.classes = classes or len(self._names) or CLASSES
        self._all_known = bool(classes or self._names)
        for split in SPLITS:
            folder, maps = (part_of(root, "ade20k", f"{part}/{split}") for part in ("images", "annotations"))
            if not folder.is_dir() and not maps.is_dir():
                self.findings.append(Finding("split", str(folder), f"neither the folder nor {maps}"))
                continue
            self._images[split], others = walk(folder)
            labels, other_maps = walk(maps)
            self._labels[split] = {os.path.splitext(name)[0]: name for name in labels}
            self.findings += ignored(folder, others) + ignored(maps, other_maps)

    def __len__(self) -> int:
        return sum(len(images) for images in self._images.values())

    def tasks(self) -> Iterator[Task]:
        """One per image, with its label map."""
        for split, images in self._images.items():
            folder, maps = (part_of(self._root, "ade20k", f"{part}/{split}") for part in ("images", "annotations"))
            labels = dict(self._labels[split])
            seen: set[str] = set()
            for image in images:
                file, stem = os.path.join(folder, image), os.path.splitext(image)[0]
                self.findings += misplaced_split(file, _STATED[split])
                if stem in seen:
                    self.findings.append(Finding("duplicate-id", file, "a second image of this name"))
                seen.add(stem)
                label_map = self._labels[split].get(stem)
                labels.pop(stem, None)
                if label_map is None:
                    self.findings.append(Finding("unlisted", file, f"no label map in {maps}"))
                self._files.append(file)
                self._split_of.append(SPLITS.index(split))
                yield Task(
                    place=len(self._files) - 1,
                    file=file,
                    label_map=None if label_map is None else os.path.join(maps, label_map),
                    classes=self.classes,
                    eyes_on_pixels=True,
                )
            for stem, name in labels.items():
                self.findings.append(
                    Finding("missing", os.path.join(folder, f"{stem}.*"), f"label map {os.path.join(maps, name)}")
                )

    def take(self, result: Result) -> None:
        """Remember what a worker saw."""
        self._contents.add(result.place, result.digest)
        if result.labels is not None:
            self._present[SPLITS[self._split_of[result.place]]] |= result.labels

    def finish(self) -> None:
        """After the last image: equal contents, and classes without a pixel."""
        self.findings += self._contents.findings(
            self._files.__getitem__, lambda number: Place(SPLITS[self._split_of[number]], "")
        )
        # Without a list, the highest label that occurs is taken for the last class.
        occurring = np.flatnonzero(self._present[SPLITS[0]][: self.classes + 1])
        last = self.classes if self._all_known else int(occurring.max(initial=0))
        for split in self._images:
            for label in range(1, last + 1):
                if not self._present[split][label]:
                    name = f" ({self._names[label - 1]})" if len(self._names) >= label else ""
                    folder = part_of(self._root, "ade20k", f"annotations/{split}")
                    self.findings.append(Finding("no-images", str(folder), f"class {label}{name} has no pixel"))

    def _class_names(self) -> list[str]:
        if not isinstance(self._root, Path) or not (self._root / "classes.txt").is_file():
            return []
        try:
            return read_lines(self._root / "classes.txt", "class list")
        except UserError as error:
            self.findings.append(Finding("annotations", str(self._root / "classes.txt"), str(error)))
            return []
