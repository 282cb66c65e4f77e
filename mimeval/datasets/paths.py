"""Where the layouts lie: below one root, or where a small data.yaml says. docs/data.md has an example."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from mimeval.errors import UserError

# The parts of each layout that a data.yaml may place elsewhere, and files in them under other names.
PARTS = {
    "imagenet": ("train", "val", "meta"),
    "coco": (
        "train2017",
        "val2017",
        "annotations",
        "annotations/instances_train2017.json",
        "annotations/instances_val2017.json",
    ),
    "ade20k": (
        "images/training",
        "images/validation",
        "annotations/training",
        "annotations/validation",
    ),
}


class DataFile:
    """A data.yaml: `imagenet:`, `coco:`, `ade20k:`, each a folder, or `root:` and parts of the layout that lie elsewhere.

    Relative paths are relative to the file's folder, those of parts to the layout's `root`.

    Raises:
        UserError: the file is not such a mapping, or names a folder or file that is not there.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file).expanduser()
        self._places: dict[str, Path] = {}
        content = self._read()
        for layout, entry in content.items():
            self._known(layout, list(PARTS), "")
            entry = {"root": entry} if isinstance(entry, str) else entry
            if not isinstance(entry, Mapping) or not entry or not all(isinstance(v, str) for v in entry.values()):
                raise UserError(
                    f"{self.file}: expected {layout} to be a folder, or a mapping of root and parts to paths, "
                    f"found {entry!r}; correct it"
                )
            root = self._there(layout, self._absolute(entry.get("root", "."), self.file.parent), folder=True)
            if "root" in entry:
                self._places[layout] = root
            for part, path in entry.items():
                if part != "root":
                    self._known(part, ["root", *PARTS[layout]], f"{layout}: ")
                    place = self._absolute(path, root)
                    self._places[f"{layout}/{part}"] = self._there(f"{layout}: {part}", place, folder="." not in part)

    def place(self, path: str) -> Path:
        """Where a path below a common root (`coco/train2017/`) lies by this file.

        Raises:
            UserError: the file does not say.
        """
        parts = PurePosixPath(path).parts
        for count in range(len(parts), 0, -1):
            found = self._places.get("/".join(parts[:count]))
            if found is not None:
                return found.joinpath(*parts[count:])
        raise UserError(f"{self.file}: expected it to say where {path} lies, found nothing about it; add it")

    def _read(self) -> Mapping[Any, Any]:
        try:
            content = yaml.safe_load(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{self.file}: expected YAML, found a file that is none ({reason}); correct it") from error
        if not isinstance(content, Mapping) or not content:
            raise UserError(
                f"{self.file}: expected lines such as 'imagenet: /path/to/folder', found "
                f"{'an empty file' if content is None else type(content).__name__}; correct it"
            )
        return content

    def _known(self, key: Any, keys: list[str], where: str) -> None:
        if key not in keys:
            near = difflib.get_close_matches(str(key), keys, n=1)
            hint = f"did you mean {near[0]}?" if near else "remove it"
            raise UserError(f"{self.file}: {where}expected the keys {', '.join(keys)}, found '{key}'; {hint}")

    @staticmethod
    def _absolute(path: str, base: Path) -> Path:
        return Path(os.path.abspath(base / Path(path).expanduser()))

    def _there(self, key: str, place: Path, folder: bool) -> Path:
        if not (place.is_dir() if folder else place.is_file()):
            kind = "folder" if folder else "file"
            raise UserError(f"{self.file}: {key}: expected the {kind} {place}, found none there; correct the path")
        return place


def layout_root(path: str | Path, layout: str) -> Path | DataFile:
    """The layout's folder: `path` itself, or `path/<layout>`; or the data.yaml that `path` is.

    Raises:
        UserError: there is no such folder.
    """
    given = Path(path).expanduser()
    if given.suffix in (".yaml", ".yml") and given.is_file():
        return DataFile(given)
    if not given.is_dir():
        found = "a file" if given.exists() else "nothing"
        raise UserError(f"{path}: expected a folder with the layout {layout}, or a data.yaml, found {found} there")
    # Other layouts have annotations/ too, and meta/ alone holds no image.
    parts = [part for part in PARTS[layout] if part not in ("annotations", "meta")]
    for folder in (given, given / layout):
        if any((folder / part).exists() for part in parts):
            return folder
    wanted = ", ".join(part for part in parts if "." not in part)
    raise UserError(
        f"{path}: expected {wanted} of the layout {layout}, or {layout}/ with them in it, found neither; "
        "give the layout's folder, or a data.yaml that says where its parts lie"
    )


def part_of(root: Path | DataFile, layout: str, part: str) -> Path:
    """Where a part of the layout lies (`train2017`), there or not."""
    if isinstance(root, Path):
        return root / part
    return root.place(f"{layout}/{part}")
