"""coco/{train2017,val2017,annotations/instances_*.json}: boxes and masks."""

from __future__ import annotations

import json
import os
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mimeval.datasets.check.files import Finding, Result, Task
from mimeval.datasets.check.listing import Contents, Place, ignored, misplaced_split, walk
from mimeval.datasets.layouts import COCO_KEYS
from mimeval.datasets.paths import DataFile, part_of

SPLITS = ("train2017", "val2017")
_IMAGE_KEYS = ("id", "file_name", "width", "height")
_INSTANCE_KEYS = ("id", "image_id", "category_id", "bbox")


class COCO:
    """The layout's images, read split by split: an annotation file is in memory only as long as its images are dealt out."""

    def __init__(self, root: Path | DataFile) -> None:
        self.findings: list[Finding] = []
        self._files: list[str] = []
        self._split_of = array("b")
        self._contents = Contents()
        self._categories: dict[str, dict[Any, str]] = {}
        self._folders: dict[str, tuple[Path, list[str]]] = {}
        self._instances: dict[str, Path] = {}
        for split in SPLITS:
            folder = part_of(root, "coco", split)
            file = part_of(root, "coco", f"annotations/instances_{split}.json")
            if not folder.is_dir() and not file.is_file():
                self.findings.append(Finding("split", str(folder), f"neither the folder nor {file}"))
                continue
            images, others = walk(folder)
            self._folders[split] = (folder, images)
            self._instances[split] = file
            self.findings += ignored(folder, others)

    def __len__(self) -> int:
        return sum(len(images) for _, images in self._folders.values())

    def tasks(self) -> Iterator[Task]:
        """One per image file, with its annotations."""
        for split, (folder, images) in self._folders.items():
            annotations = _Annotations(self._instances[split])
            self.findings += annotations.findings
            self._categories[split] = annotations.categories
            for image in images:
                file = os.path.join(folder, image)
                self.findings += misplaced_split(file, split.removesuffix("2017"))
                self._files.append(file)
                self._split_of.append(SPLITS.index(split))
                entry = annotations.images.pop(image, None)
                if entry is None and annotations.read:
                    self.findings.append(Finding("unlisted", file, f"not in {annotations.file}"))
                yield Task(
                    place=len(self._files) - 1,
                    file=file,
                    size=_size(entry),
                    annotations=str(annotations.file),
                    instances=annotations.instances.pop(entry["id"], []) if entry is not None else [],
                    eyes_on_pixels=True,
                )
            for name in annotations.images:
                self.findings.append(
                    Finding("missing", os.path.join(folder, str(name)), f"listed in {annotations.file}")
                )

    def take(self, result: Result) -> None:
        """Remember what a worker saw."""
        self._contents.add(result.place, result.digest)

    def finish(self) -> None:
        """After the last image: equal contents, and categories that differ between the splits."""
        self.findings += self._contents.findings(
            self._files.__getitem__, lambda number: Place(SPLITS[self._split_of[number]], "")
        )
        train, val = (self._categories.get(split) for split in SPLITS)
        if train and val:
            for number in sorted(train.keys() | val.keys(), key=str):
                if train.get(number) != val.get(number):
                    names = [repr(found.get(number, "nothing")) for found in (train, val)]
                    detail = f"category {number} is {names[1]}, in {SPLITS[0]} it is {names[0]}"
                    self.findings.append(Finding("category", str(self._instances[SPLITS[1]]), detail))


class _Annotations:
    """An instances file: `images` by file name, `instances` by image id, `categories` by id, and what is wrong with it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.findings: list[Finding] = []
        self.images: dict[str, dict] = {}
        self.instances: dict[Any, list[dict]] = defaultdict(list)
        self.categories: dict[Any, str] = {}
        content = self._content()
        self.read = content is not None
        if content is not None:
            self._read_categories(content["categories"])
            ids = self._read_images(content["images"])
            self._read_instances(content["annotations"], ids)

    def _content(self) -> dict | None:
        try:
            content = json.loads(self.file.read_bytes())
        except FileNotFoundError:
            self._add("missing", "no such file")
            return None
        except (OSError, ValueError, RecursionError) as error:
            cut = isinstance(error, json.JSONDecodeError) and error.pos >= len(error.doc.rstrip()) - 1
            self._add("annotations", f"JSON that is {'cut short' if cut else 'none'}: {error}")
            return None
        missing = [key for key in COCO_KEYS if not isinstance(content, dict) or not isinstance(content.get(key), list)]
        if missing:
            self._add("annotations", f"no list of {' and none of '.join(missing)}")
            return None
        return content

    def _add(self, kind: str, detail: str) -> None:
        self.findings.append(Finding(kind, str(self.file), detail))

    def _entries(self, entries: list, what: str, keys: tuple[str, ...]) -> Iterator[dict]:
        """Entries that have what they need, ids and file names that are no lists or mappings."""
        for place, entry in enumerate(entries):
            lacking = [key for key in keys if not isinstance(entry, dict) or entry.get(key) is None]
            lacking += [key for key in keys if not lacking and key != "bbox" and not isinstance(entry[key], str | int)]
            if lacking:
                named = f" (id {entry['id']})" if isinstance(entry, dict) and "id" in entry else ""
                self._add("annotations", f"{what} number {place}{named} without {', '.join(lacking)}")
            else:
                yield entry

    def _read_categories(self, entries: list) -> None:
        for entry in self._entries(entries, "category", ("id", "name")):
            if entry["id"] in self.categories:
                self._add("duplicate-id", f"category {entry['id']} twice")
            self.categories[entry["id"]] = str(entry["name"])
        for name, count in Counter(self.categories.values()).items():
            if count > 1:
                self._add("duplicate-id", f"category name '{name}' {count} times")

    def _read_images(self, entries: list) -> set:
        ids: set = set()
        for entry in self._entries(entries, "image", _IMAGE_KEYS):
            name = os.path.normpath(str(entry["file_name"]))
            if entry["id"] in ids:
                self._add("duplicate-id", f"image {entry['id']} twice, the second is {name}")
            if name in self.images:
                self._add("duplicate-id", f"file name {name} twice")
            if _size(entry) is None:
                self._add("annotations", f"image {entry['id']} of {entry['width']} x {entry['height']}")
            ids.add(entry["id"])
            self.images[name] = entry
        return ids

    def _read_instances(self, entries: list, images: set) -> None:
        ids: set = set()
        used: set = set()
        without_mask = []
        for entry in self._entries(entries, "annotation", _INSTANCE_KEYS):
            if entry["id"] in ids:
                self._add("duplicate-id", f"annotation {entry['id']} twice")
            ids.add(entry["id"])
            used.add(entry["category_id"])
            if entry["category_id"] not in self.categories:
                self._add(
                    "category", f"annotation {entry['id']} of category {entry['category_id']}, which is not listed"
                )
            if entry["image_id"] not in images:
                self._add("unknown-id", f"annotation {entry['id']} of image {entry['image_id']}, which is not listed")
            if not entry.get("segmentation"):
                without_mask.append(entry["id"])
            mine = {key: entry.get(key) for key in ("id", "bbox", "segmentation")}
            self.instances[entry["image_id"]].append(mine)
        for number, name in self.categories.items():
            if number not in used:
                self._add("no-images", f"category {number} ({name}) has no annotation")
        if without_mask:
            self._add("no-masks", f"{len(without_mask)} of {len(ids)} annotations, the first {without_mask[0]}")
        for name, entry in self.images.items():
            if entry["id"] not in self.instances:
                self.findings.append(Finding("no-instances", str(self.file), f"image {entry['id']}, {name}"))


def _size(entry: dict | None) -> tuple[int, int] | None:
    if entry is None:
        return None
    width, height = entry["width"], entry["height"]
    return (width, height) if all(isinstance(side, int) and side > 0 for side in (width, height)) else None
