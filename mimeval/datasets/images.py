"""Folders of images, with a class per sub-folder or without labels."""

from __future__ import annotations

import os
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


@DATASETS.register_module()
class ImageFolder(BaseDataset):
    """`data_root/folder/<class>/**/*.png`: img_path, and gt_label from the sorted class folders if `with_label`.

    Without labels every image below the folder is taken, however deep. `indices` and all else as in BaseDataset.

    Raises:
        UserError: the folder is missing, has no image, or has a class folder without an image.
    """

    def __init__(
        self,
        folder: str,
        data_root: str = "",
        with_label: bool = True,
        pipeline: Sequence[Any] = (),
        extensions: Sequence[str] = EXTENSIONS,
        **kwargs: Any,
    ) -> None:
        self.folder = Path(data_root or "", folder)
        self.with_label = with_label
        self.extensions = tuple(extension.lower() for extension in extensions)
        super().__init__(data_root=data_root, data_prefix={}, pipeline=list(pipeline), **kwargs)

    def load_data_list(self) -> list[dict]:
        """One dict(img_path[, gt_label]) per image, sorted by path."""
        if not self.folder.is_dir():
            found = "a file" if self.folder.exists() else "nothing"
            raise UserError(
                f"image folder {self.folder}: expected a folder of images, found {found}; "
                "give the folder that contains imagenet/, coco/ and ade20k/ with --data, or set data_root in the config"
            )
        if not self.with_label:
            return [{"img_path": path} for path in self._images(self.folder)]
        # Hidden folders are those of tools (.git, .ipynb_checkpoints).
        classes = sorted(e.name for e in self.folder.iterdir() if e.is_dir() and not e.name.startswith("."))
        if not classes:
            raise UserError(
                f"image folder {self.folder}: expected one sub-folder per class, found none; "
                "sort the images into class folders, or use with_label=False for training without labels"
            )
        self._metainfo["classes"] = tuple(classes)
        return [
            {"img_path": path, "gt_label": label}
            for label, name in enumerate(classes)
            for path in self._images(self.folder / name)
        ]

    def _images(self, folder: Path) -> list[str]:
        images = find_images(folder, self.extensions)
        if not images:
            raise UserError(
                f"image folder {folder}: expected images ({' '.join(self.extensions)}), found none; "
                "remove the empty folder or put its images there"
            )
        return images
