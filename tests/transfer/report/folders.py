"""Results folders for the tests, made as `mimeval transfer` and mmengine make them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from mimeval.transfer.results import Record, append

METRICS = {
    "knn": "top-1 accuracy",
    "linear": "top-1 accuracy",
    "finetune": "top-1 accuracy",
    "detection": "box AP",
    "segmentation": "mIoU",
}


def record(task: str = "knn", init: str = "random", value: float = 10.0, seed: int = 0, **others: Any) -> Record:
    """A record with everything in it; any field can be given."""
    checkpoint = None if init == "random" else {"path": f"{init}.pth", "sha256": "ab" * 32, "family": "mae"}
    values = dict(
        task=task,
        init=init,
        metric=METRICS.get(task, "score"),
        value=value,
        metrics={"bbox_mAP": value, "segm_mAP": value / 2} if task == "detection" else {"top1": value},
        seed=seed,
        protocol=f"{task}_mae_demo",
        protocol_version=1,
        features={"tokens": "cls", "norm": "fc_norm", "taps": [], "frozen": True},
        selection="last epoch",
        config_hash="0123456789abcdef",
        checkpoint=checkpoint,
        note="",
        artifacts=f"{init}/{task}" + (f"-seed{seed}" if seed else ""),
        git="c0ffee" * 6 + "c0ff",
        versions={"python": "3.11.9", "torch": "2.11.0"},
        hardware={"cpu": "Test CPU", "cores": 2, "threads": 1, "gpu": None},
        wall_s=75.0,
        peak_bytes=512 * 2**20,
        images_seen=30000,
        finished="2026-11-21T12:00:00Z",
    )
    return Record(**(values | others))


def results(folder: Path, records: Sequence[Record]) -> Path:
    """A folder with these records."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in records:
        append(folder, entry)
    return folder


def scalars(
    run: Path, count: int, value: Callable[[int], dict], session: str = "20261121_120000", first: int = 1
) -> Path:
    """A session's scalars.json of `count` lines: steps `first`, `first + 1`, ... with the values of `value(step)`."""
    path = run / session / "vis_data" / "scalars.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({**value(step), "iter": step, "step": step}) for step in range(first, first + count)]
    path.write_text("\n".join(lines) + "\n")
    return path


def picture(path: Path, colour: tuple[int, int, int] = (200, 40, 40), size: tuple[int, int] = (12, 8)) -> Path:
    """A PNG of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path
