"""Everything that a report shows, read from the folder of a transfer run."""

from __future__ import annotations

import ast
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

from mimeval.errors import UserError
from mimeval.transfer.report.curves import Run, read_runs
from mimeval.transfer.report.pictures import Gallery, read_pictures
from mimeval.transfer.results import RESULTS, Record, read

PRETRAIN = "pretrain"
MOST_RECONSTRUCTIONS = 6
MOST_PREDICTIONS = 6


@dataclass(frozen=True)
class Pretraining:
    """One pre-training run below DIR/pretrain. ``normalised``: whether targets are, None where no config says so."""

    name: str
    curves: Run | None
    reconstructions: Gallery
    normalised: bool | None


@dataclass(frozen=True)
class Artifacts:
    """Curves and pictures of one row's task, over all its seeds; predictions are of the first seed that left some."""

    task: str
    init: str
    runs: list[Run]
    predictions: Gallery


@dataclass(frozen=True)
class Collected:
    """A results folder in memory. ``superseded`` are records that a later one of the same row and task replaces."""

    folder: Path
    records: list[Record]
    superseded: list[Record]
    pretraining: list[Pretraining]
    artifacts: list[Artifacts]
    notes: list[str]


def collect(folder: Path) -> Collected:
    """Reads records, curves and pictures below a folder.

    Raises:
        UserError: no such folder, no results in it, or a malformed line.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise UserError(
            f"{folder}: expected the folder of a `mimeval transfer` run, found {found}; give its --out folder."
        )
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            records = read(folder)
        except OSError as error:
            raise UserError(f"{folder / RESULTS} cannot be read: {error.strerror}; change its permissions.") from error
    notes += [str(warning.message) for warning in caught]
    if not records:
        raise UserError(
            f"{folder} has no results to report: {RESULTS} is missing or empty; run `mimeval transfer` first."
        )
    for number, record in enumerate(records, 1):
        _check(record, folder, number)
    current, superseded = _newest(records)
    if superseded:
        notes.append(
            f"{len(superseded)} of {len(records)} records are of an earlier checkpoint, configuration or run of the "
            f"same row and task; the latest counts, all are kept in {RESULTS}."
        )
    artifacts = _artifacts(folder, current, notes)
    return Collected(folder, current, superseded, _pretraining(folder, notes), artifacts, notes)


def _check(record: Record, folder: Path, number: int) -> None:
    # Record does not check its fields, and the file may have been edited or merged by hand.
    def refuse(name: str, expected: str) -> UserError:
        found = getattr(record, name)
        return UserError(
            f"{folder / RESULTS}, record {number}: {name} must be {expected}, found {found!r}; mend the line."
        )

    for name in ("value", "seed", "protocol_version", "wall_s", "peak_bytes", "images_seen"):
        if not _finite(getattr(record, name)):
            raise refuse(name, "a finite number")
    for name in ("task", "init", "metric", "protocol", "note", "artifacts", "config_hash", "selection", "finished"):
        if not isinstance(getattr(record, name), str):
            raise refuse(name, "text")
    for name in ("metrics", "features", "versions", "hardware"):
        if not isinstance(getattr(record, name), dict):
            raise refuse(name, "a mapping")
    if not all(map(_finite, record.metrics.values())):
        raise refuse("metrics", "a mapping to finite numbers")
    if record.checkpoint is not None and not isinstance(record.checkpoint, dict):
        raise refuse("checkpoint", "a mapping or null")


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _newest(records: list[Record]) -> tuple[list[Record], list[Record]]:
    # Seeds are averaged only where everything but the seed is equal: the settings of the newest record decide.
    def place(record: Record) -> tuple:
        return record.task, record.init, record.protocol, record.protocol_version

    def settings(record: Record) -> tuple:
        return record.config_hash, (record.checkpoint or {}).get("sha256"), record.adapted

    newest = {place(record): settings(record) for record in records}
    last = {(place(record), record.seed): record for record in records if settings(record) == newest[place(record)]}
    kept = {id(record) for record in last.values()}
    return [r for r in records if id(r) in kept], [r for r in records if id(r) not in kept]


def _artifacts(folder: Path, records: list[Record], notes: list[str]) -> list[Artifacts]:
    runs: dict[tuple[str, str], list[Run]] = {}
    galleries: dict[tuple[str, str], Gallery] = {}
    for record in records:
        place = (folder / record.artifacts).resolve()
        # A results file may come from somebody else: what it names outside its own folder is not embedded.
        if not place.is_relative_to(folder.resolve()):
            notes.append(
                f"{record.init}, {record.task}: {record.artifacts} is outside the results folder and not shown."
            )
            continue
        key = record.task, record.init
        own = runs.setdefault(key, [])
        known = {run.folder for run in own}
        own.extend(run for run in read_runs(place) if run.folder not in known)
        if key not in galleries or not galleries[key].total:
            galleries[key] = read_pictures(place / "predictions", MOST_PREDICTIONS)
            notes.extend(f"{record.init}, {record.task}: {sentence}" for sentence in galleries[key].faults)
    return [Artifacts(task, init, own, galleries[task, init]) for (task, init), own in runs.items()]


def _pretraining(folder: Path, notes: list[str]) -> list[Pretraining]:
    root = folder / PRETRAIN
    runs = {run.folder: run for run in read_runs(root)}
    places = {path.parent for path in root.glob("**/reconstructions")} | set(runs)
    found = []
    for place in sorted(places):
        gallery = read_pictures(place / "reconstructions", MOST_RECONSTRUCTIONS)
        notes.extend(f"pre-training: {sentence}" for sentence in gallery.faults)
        name = place.relative_to(folder).as_posix()
        found.append(Pretraining(name, runs.get(place), gallery, normalised_pixels(place)))
    return found


def normalised_pixels(run: Path) -> bool | None:
    """Whether a run's dumped config has a PixelTarget of normalised pixels; None where no config can be read."""
    for path in sorted([*run.glob("*.py"), *run.glob("*/vis_data/config.py")], reverse=True):
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (OSError, SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            values = {k.arg: k.value.value for k in node.keywords if k.arg and isinstance(k.value, ast.Constant)}
            if str(values.get("type", "")).rpartition(".")[2] == "PixelTarget":
                return bool(values.get("norm_pix", True))  # PixelTarget's own default
    return None
