"""Folders of images, with a class per sub-folder, with a list of labels, or without labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset

from mimeval.errors import UserError
from mimeval.registry import DATASETS

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


def find_images(folder: str | Path, extensions: Sequence[str] = EXTENSIONS) -> list[str]:
    """All image files below `folder`, links followed, in an order that does not depend on the file system."""
    suffixes = tuple(extensions)
    found = []
    # Strings, not Paths: a million of those take a minute to make and sort.
    for parent, _, names in os.walk(folder, followlinks=True):
        found += [os.path.join(parent, name) for name in names if name.lower().endswith(suffixes)]
    return sorted(found)


def class_folders(folder: Path) -> list[str]:
    """The sorted names of the class folders; hidden ones are those of tools (.git, .ipynb_checkpoints)."""
    return sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith("."))


def read_lines(file: Path, what: str) -> list[str]:
    """The lines of a list that are not blank, stripped.

    Raises:
        UserError: no file, no UTF-8 text, or no line.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except FileNotFoundError:
        raise UserError(f"{what} {file}: expected a text file, found nothing; correct the path") from None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{what} {file}: expected lines of UTF-8 text, found none ({error}); correct the file"
        ) from error
    lines = [line for line in lines if line]
    if not lines:
        raise UserError(f"{what} {file}: expected a line per entry, found an empty file; correct it")
    return lines


def read_list(file: Path) -> list[tuple[str, str]]:
    """(relative path, label as written) per line of an annotation list; a path may have spaces, a label has none.

    Raises:
        UserError: the file cannot be read, or a line has no label.
    """
    entries = []
    for line in read_lines(file, "annotation list"):
        parts = line.rsplit(maxsplit=1)
        if len(parts) < 2:
            raise UserError(
                f"annotation list {file}: expected 'relative/path label' in each line, found '{line}'; add its label"
            )
        entries.append((parts[0], parts[1]))
    return entries


@DATASETS.register_module()
class ImageFolder(BaseDataset):
    """Images below `data_root/folder`: img_path, and gt_label if `with_label`. All else as in BaseDataset.

    Labels come from `folder/<class>/**/*.png`, or, with `ann_file`, from its lines `path/below/folder label`, the label
    a number or a class's name (ImageNet's flat val with its val.txt). Without labels every image below the folder is
    taken, however deep.

    Args:
        classes: names of the classes in the order of their labels, or a file with one per line. Without an `ann_file`
            they are the class folders that are read, others are left out. By default: the sorted class folders, or the
            sorted names in `ann_file`; numbers there are names only if `classes` has them.
        ann_file, classes, folder: relative to `data_root` unless absolute.

    Raises:
        UserError: the folder or a list is missing or empty, a class has no image, or a label is of no class.
    """

    def __init__(
        self,
        folder: str,
        data_root: str = "",
        with_label: bool = True,
        pipeline: Sequence[Any] = (),
        extensions: Sequence[str] = EXTENSIONS,
        classes: str | Sequence[str] | None = None,
        ann_file: str = "",
        **kwargs: Any,
    ) -> None:
        self.folder = Path(data_root or "", folder)
        self.with_label = with_label
        self.extensions = tuple(extension.lower() for extension in extensions)
        self.numbered = False  # whether the classes' names are but their numbers
        self._classes = Path(data_root or "", classes) if isinstance(classes, str) else classes
        super().__init__(ann_file=ann_file, data_root=data_root, data_prefix={}, pipeline=list(pipeline), **kwargs)

    def load_data_list(self) -> list[dict]:
        """One dict(img_path[, gt_label]) per image, sorted by class and path, or in the order of `ann_file`."""
        if not self.folder.is_dir():
            found = "a file" if self.folder.exists() else "nothing"
            raise UserError(
                f"image folder {self.folder}: expected a folder of images, found {found}; "
                "give the folder that contains imagenet/, coco/ and ade20k/ with --data, or set data_root in the config"
            )
        if self.ann_file:
            return self._listed(Path(self.ann_file))
        if not self.with_label:
            return [{"img_path": path} for path in self._images(self.folder)]
        there = class_folders(self.folder)
        if not there:
            raise UserError(
                f"image folder {self.folder}: expected one sub-folder per class, found none; sort the images into class "
                "folders, give their labels with ann_file, or use with_label=False for training without labels"
            )
        classes = self._names() or there
        for name in classes:
            if name not in there:
                raise UserError(
                    f"image folder {self.folder}: expected a folder for class '{name}' of {self._source()}, found none; "
                    "correct the list or the folder"
                )
        self._metainfo["classes"] = tuple(classes)
        return [
            {"img_path": path, "gt_label": label}
            for label, name in enumerate(classes)
            for path in self._images(self.folder / name)
        ]

    def _listed(self, file: Path) -> list[dict]:
        if not self.with_label:
            paths = [line.rsplit(maxsplit=1)[0] for line in read_lines(file, "annotation list")]
            return [{"img_path": str(self.folder / path)} for path in paths]
        entries = read_list(file)
        written = {label for _, label in entries}
        classes = self._names()
        numbers = all(label.isdecimal() for label in written)
        if classes is None and numbers:
            self.numbered = True
            classes = [str(number) for number in range(1 + max(map(int, written)))]
        elif classes is None:
            classes = sorted(written)
        labels = {name: label for label, name in enumerate(classes)}
        if numbers and not written <= labels.keys():
            labels = {label: int(label) for label in written}
        self._metainfo["classes"] = tuple(classes)
        data = []
        for path, label in entries:
            if not 0 <= labels.get(label, -1) < len(classes):
                raise UserError(
                    f"annotation list {file}: expected labels of the {len(classes)} classes of {self._source()}, "
                    f"found '{label}' for {path}; correct one of the two"
                )
            data.append({"img_path": str(self.folder / path), "gt_label": labels[label]})
        return data

    def _names(self) -> list[str] | None:
        if self._classes is None:
            return None
        names = read_lines(self._classes, "class list") if isinstance(self._classes, Path) else list(self._classes)
        if twice := sorted(name for name, count in Counter(names).items() if count > 1):
            raise UserError(f"{self._source()}: expected every class once, found '{twice[0]}' twice; remove one")
        return names

    def _source(self) -> str:
        return f"class list {self._classes}" if isinstance(self._classes, Path) else "the config's classes"

    def _images(self, folder: Path) -> list[str]:
        images = find_images(folder, self.extensions)
        if not images:
            raise UserError(
                f"image folder {folder}: expected images ({' '.join(self.extensions)}), found none; "
                "remove the empty folder or put its images there"
            )
        return images
