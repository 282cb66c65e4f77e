"""The `mimeval transfer` command for a checkpoint: which shipped suite is for its encoder, and which of its tasks can have it."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from .encoder import obstacle
from .formats.architecture import Architecture, Swin, ViT


@dataclass(frozen=True)
class Suite:
    """A shipped one, below configs/suites. maps: tasks that read maps, whose steps are patch_size pixels; windowed: tasks whose ViT
    attends within windows. All of it is read from the configs by the tests."""

    name: str
    tasks: tuple[str, ...] = ("knn", "linear", "finetune", "segmentation", "detection")
    maps: tuple[str, ...] = ("segmentation", "detection")
    windowed: tuple[str, ...] = ("detection",)
    patch_size: int = 16
    data: str = "DATA"


# By kind, width and depth.
SUITES = {
    ("vit", 64, 4): Suite("demo", windowed=(), patch_size=4, data="data/demo"),
    ("vit", 384, 12): Suite("standard_vits"),
    ("vit", 768, 12): Suite("standard"),
    ("vit", 1024, 24): Suite("standard_vitl"),
    ("vit", 1280, 32): Suite("standard_vith", tasks=("knn", "linear", "finetune"), maps=(), windowed=()),
    ("swin", 128, 24): Suite("standard"),  # by its `swin`
    ("swin", 192, 24): Suite("standard_swinl", tasks=("finetune", "segmentation"), maps=("segmentation",), windowed=()),
}


def suite_for(architecture: Architecture) -> Suite | None:
    """The shipped suite of an encoder's kind and size."""
    if not isinstance(architecture, ViT | Swin):
        return None
    return SUITES.get((architecture.kind, architecture.embed_dim or 0, architecture.depth))


def transfer_command(path: str | os.PathLike, architecture: Architecture) -> tuple[str, list[str]]:
    """The command that runs the suite of this architecture, empty if it is none, and what to know first."""
    if not isinstance(architecture, ViT | Swin):
        return "", ["no suite is for an encoder that is neither a ViT nor a Swin"]
    suite = suite_for(architecture)
    name = Path(path).name.split(".")[0] or "checkpoint"
    parts = ["mimeval", "transfer", str(path), "--suite", f"configs/suites/{suite.name}.py" if suite else "SUITE.py"]
    remarks = []
    if suite is None:
        remarks.append(
            f"no suite is shipped for {architecture}: copy configs/suites/standard.py with its configs, and set arch and all widths there"
        )
    else:
        reasons = {
            task: reason
            for task in suite.maps
            if (reason := obstacle(architecture, task in suite.windowed, True, suite.patch_size))
        }
        if reasons:
            parts += ["--tasks", ",".join(task for task in suite.tasks if task not in reasons)]
            remarks += [f"the recipe of {task} cannot have this encoder: {reason}" for task, reason in reasons.items()]
    data = suite.data if suite else "DATA"
    return " ".join([*map(shlex.quote, parts), "--data", data, "--out", shlex.quote(f"work_dirs/{name}")]), remarks
