"""Training curves: JSON lines that mmengine's LocalVisBackend writes to `<run>/<timestamp>/vis_data/scalars.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mimeval.errors import UserError

# What is drawn of a pre-training, in this order: key in the log, title, the unit in which it is drawn.
PRETRAIN_CURVES = (
    ("loss_reconstruction", "Reconstruction loss", 1),
    ("loss_consistency", "Consistency loss", 1),
    ("lr", "Learning rate", 1),
    ("grad_norm", "Gradient norm", 1),
    ("images_per_s", "Images per second", 1),
    ("peak_bytes", "Peak memory, GiB", 2**30),
)


@dataclass(frozen=True)
class Run:
    """One training run, all its resumed sessions in one: ``values[key] = [(step, value), ...]`` by rising step."""

    folder: Path
    values: dict[str, list[tuple[float, float]]]


def read_runs(folder: Path) -> list[Run]:
    """The runs below a folder, by path. UserError names the file and line that is no JSON object."""
    sessions: dict[Path, list[Path]] = {}
    for path in sorted(folder.glob("**/vis_data/scalars.json")):
        # Each session of a run has a folder named by its time; a resume adds another one beside it.
        sessions.setdefault(path.parents[2], []).append(path)
    return [Run(run, _merge(_read(path) for path in paths)) for run, paths in sessions.items()]


def _read(path: Path) -> list[dict]:
    entries = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; change its permissions or remove it.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            if number == len(lines):
                continue  # a run that was stopped, or is still writing, leaves its last line unfinished
            entry = None
        if not isinstance(entry, dict):
            raise UserError(f"{path}, line {number}: expected one JSON object, found {line[:60]!r}; mend it.")
        entries.append(entry)
    return entries


def _merge(sessions: Iterable[list[dict]]) -> dict[str, list[tuple[float, float]]]:
    values: dict[str, list[tuple[float, float]]] = {}
    for session in sessions:
        fresh: dict[str, list[tuple[float, float]]] = {}
        for entry in session:
            step = entry.get("step")
            if not isinstance(step, int | float):
                continue
            for key, value in entry.items():
                if key != "step" and isinstance(value, int | float) and not isinstance(value, bool):
                    fresh.setdefault(key, []).append((step, value))
        for key, points in fresh.items():
            points.sort()
            # A resumed session repeats the steps after its checkpoint: its own numbers replace the abandoned ones.
            kept = [point for point in values.get(key, []) if point[0] < points[0][0]]
            values[key] = kept + points
    return values
