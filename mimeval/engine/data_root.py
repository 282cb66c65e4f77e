"""`--data`: a config's paths moved to where the data are, a folder or what a data.yaml says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mimeval.errors import UserError

DATA_FILES = (".yaml", ".yml")
# A dataset's keys with paths below its data_root.
DATASET_PATHS = ("folder", "ann_file", "classes", "data_prefix")


def set_data_root(cfg: Config, root: str) -> None:
    """Put `root` in place of the config's data_root in every data loader, evaluator and hook.

    `root`: a folder, or a data.yaml (mimeval.datasets.paths.DataFile), whose paths then stand in every place.

    Raises:
        UserError: the config has no data_root, `root` is neither, or a data.yaml does not say where something lies.
    """
    if "data_root" not in cfg:
        raise UserError(
            f"--data {root}: config {cfg.filename} has no data_root to replace; set paths with --cfg-options"
        )
    old, given = str(cfg.data_root), Path(root).expanduser()
    if Path(old).suffix in DATA_FILES:
        raise UserError(
            f"--data {root}: expected a config with a folder for its data_root, found {old}, whose paths are in every "
            "place of it already; give the config that this one was made from"
        )
    if given.suffix in DATA_FILES and given.is_file():
        # Only now: it brings all of the data package with it.
        from mimeval.datasets.paths import DataFile

        moved = _moved_by_file(old, DataFile(given))
    elif given.is_dir():
        moved = _moved_to_folder(old, str(given) + "/")
    else:
        raise UserError(
            f"--data {root}: expected a folder with imagenet/, coco/ or ade20k/ in it, or a data.yaml, found no folder there"
        )
    for key in list(cfg):
        if key.endswith(("dataloader", "evaluator", "dataset", "datasets", "hooks")):
            cfg[key] = moved(cfg[key])
    cfg.data_root = str(given) + ("/" if given.is_dir() else "")


def _moved_to_folder(old: str, new: str) -> Callable[[Any], Any]:
    def moved(value: Any) -> Any:
        if isinstance(value, str):
            return new + value[len(old) :].lstrip("/") if value == old or (old and value.startswith(old)) else value
        return _each(value, moved)

    return moved


def _moved_by_file(old: str, file: Any) -> Callable[[Any], Any]:
    def moved(value: Any, below: str | None = None) -> Any:
        """`below`: what stands before the relative paths of the dataset that `value` belongs to."""
        if isinstance(value, str):
            if old and value.startswith(old):
                return str(file.place(value[len(old) :].lstrip("/")))
            return str(file.place(below + value)) if below is not None and not value.startswith("/") else value
        if isinstance(value, dict) and isinstance(value.get("data_root"), str) and value["data_root"].startswith(old):
            below = value["data_root"][len(old) :].strip("/")
            below += "/" if below else ""
            paths = {key: moved(value[key], below) for key in DATASET_PATHS if value.get(key)}
            rest = {key: moved(item) for key, item in value.items() if key not in paths and key != "data_root"}
            return type(value)(rest, **paths, data_root="")
        if isinstance(value, dict) and below is not None:
            return type(value)({key: moved(item, below) for key, item in value.items()})
        # A list of classes is one of names.
        return value if below is not None else _each(value, moved)

    return moved


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return type(value)({key: change(item) for key, item in value.items()})
    return type(value)(change(item) for item in value) if isinstance(value, list | tuple) else value
