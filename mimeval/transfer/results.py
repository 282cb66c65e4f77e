"""What a number is: a record that says how it was measured, one JSON line each in `results.jsonl`."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from mimeval.errors import UserError

RESULTS = "results.jsonl"
TASKS = ("knn", "linear", "finetune", "detection", "segmentation")
# Where a run reads, writes, logs and computes does not change what it measures.
_NOT_PROTOCOL = (
    "work_dir data_root strict_data launcher resume load_from randomness filename log_level env_cfg default_hooks visualizer "
    "vis_backends"
).split()
_NOT_SETTINGS = ("num_workers", "persistent_workers", "pin_memory")


@dataclass(frozen=True)
class Record:
    """One finished task: a figure and everything needed to trust or repeat it.

    Args:
        task: one of TASKS. init: 'random' or the row's name.
        metric, value: the headline figure (percent); metrics: all figures of the task.
        protocol, protocol_version: what was done; figures of different protocols or versions are not compared.
        features: what of the backbone was read: tokens, norm, frozen or not, input size, patch.
        selection: how the reported weights and settings were chosen.
        config_hash: of the resolved config without paths and seeds.
        checkpoint: path, sha256, what loading it did, and how its encoder differs from the recipe's (`adapted`); None for random.
        note: in words, what a reader must know before comparing this row.
        artifacts: folder with curves and pictures, relative to the results file.
        wall_s: seconds; peak_bytes: highest memory of the task; images_seen: by training, or by the k-NN feature bank.
        damaged: number of files that could not be read: replaced in training, black in evaluation (`artifacts`/damaged.txt).
    """

    task: str
    init: str
    metric: str
    value: float
    metrics: dict[str, float]
    seed: int
    protocol: str
    protocol_version: int
    features: dict[str, Any]
    selection: str
    config_hash: str
    checkpoint: dict[str, Any] | None
    note: str
    artifacts: str
    git: str | None
    versions: dict[str, str]
    hardware: dict[str, Any]
    wall_s: float
    peak_bytes: int
    images_seen: int
    finished: str = field(default="")
    damaged: int = 0

    @property
    def key(self) -> tuple:
        """What makes two records the same measurement: it is never run twice."""
        sha256 = self.checkpoint["sha256"] if self.checkpoint else None
        return (self.task, self.init, sha256, self.config_hash, self.protocol_version, self.seed, self.adapted)

    @property
    def adapted(self) -> tuple[str, ...]:
        """How the encoder that was measured differs from the recipe's, in phrases."""
        return tuple(map(str, (self.checkpoint or {}).get("adapted") or ()))


def append(folder: Path, record: Record) -> None:
    """Adds one line to `folder/results.jsonl`; when this returns, it is on the disk."""
    path = folder / RESULTS
    line = json.dumps(asdict(record), sort_keys=False, allow_nan=False) + "\n"
    with path.open("ab+") as stream:
        _drop_torn_tail(stream)
        stream.write(line.encode())
        stream.flush()
        os.fsync(stream.fileno())


def _drop_torn_tail(stream: Any) -> None:
    """Cuts off the start of a line that a crash left without its end, so that the next line starts on its own."""
    stream.seek(0)
    content = stream.read()
    if content and not content.endswith(b"\n"):
        stream.truncate(content.rfind(b"\n") + 1)
    stream.seek(0, os.SEEK_END)


def read(folder: Path) -> list[Record]:
    """The records of `folder/results.jsonl`, oldest first; none if there is no file. A torn last line is left out with a warning.

    Raises:
        UserError: a line is no record.
    """
    path = folder / RESULTS
    if not path.is_file():
        return []
    records = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if number == len(lines):  # a whole line ends in a newline, so that the last piece is empty
            warnings.warn(
                f"{path}: the last line is cut short (a run was killed while writing); it is left out", stacklevel=2
            )
            continue
        try:
            values = json.loads(line)
            known = {entry.name for entry in fields(Record)}
            records.append(Record(**{name: value for name, value in values.items() if name in known}))
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path}, line {number}: expected a record of a finished task, found something else ({error}); "
                "remove the line and run `mimeval transfer ... --resume` to measure it again"
            ) from error
    return records


def config_hash(cfg: Mapping[str, Any]) -> str:
    """The first 16 hex digits of the SHA-256 of a task's settings, without paths, seeds, logging and workers."""
    settings = {key: value for key, value in cfg.items() if key not in _NOT_PROTOCOL}
    text = json.dumps(_plain(settings, str(cfg.get("data_root") or "")), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any, root: str) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item, root) for key, item in value.items() if key not in _NOT_SETTINGS}
    if isinstance(value, list | tuple):
        return [_plain(item, root) for item in value]
    if isinstance(value, str) and root and value.startswith(root):
        return "<data_root>" + value[len(root) :]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)
