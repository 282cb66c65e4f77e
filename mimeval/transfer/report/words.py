"""What a report says in words and in its provenance tables, for the page and for the markdown file alike."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from mimeval.transfer.report.collect import Collected
from mimeval.transfer.report.table import RANDOM, TITLES, Column, Table
from mimeval.transfer.results import Record

NORMALISED = (
    "Targets are normalised pixels: a prediction says nothing about a patch's mean and contrast, so each hidden patch "
    "is drawn with its true mean and contrast. Pictures look better than the prediction is."
)
NOT_NORMALISED = "Targets are raw pixels: hidden patches are drawn exactly as predicted."
UNKNOWN_TARGET = (
    "If the targets are normalised pixels (norm_pix), each hidden patch is drawn with its true mean and contrast, and "
    "pictures look better than the prediction is."
)


@dataclass(frozen=True)
class Grid:
    """A plain table of text. ``numeric`` are the columns that are set flush right."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[int] = ()


def header(found: Collected, table: Table) -> list[tuple[str, str]]:
    """What was run: terms and their text."""
    records = found.records
    tasks = dict.fromkeys(TITLES.get(column.task, column.task) for column in table.columns if column.protocol)
    seeds = sorted({record.seed for record in records})
    ends = sorted(record.finished for record in records if record.finished)
    lines = [
        ("Folder", found.folder.resolve().name),
        ("Rows", ", ".join(table.rows)),
        ("Tasks", ", ".join(tasks)),
        ("Records", f"{len(records)} with {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"),
        ("Hardware", "; ".join(distinct(hardware_text(record.hardware) for record in records))),
        (
            "Wall time",
            f"{duration(sum(record.wall_s for record in records))} for the tasks, {gpu_hours(records)} GPU-hours",
        ),
    ]
    return lines + ([("Finished", ends[-1])] if ends else [])


def verdicts(table: Table) -> list[tuple[str, str]]:
    """One sentence per row: where it stands above and below the random row, and where that cannot be told."""
    found = []
    for row in table.rows:
        groups: dict[str, list[str]] = {}
        for column, cell in zip(table.columns, table.cells[row], strict=True):
            if cell.difference is None:
                continue
            side = "above" if cell.difference > 0 else "below"
            kind = {None: "single", False: "within", True: side}[cell.clear]
            groups.setdefault(kind, []).append(f"{column_name(column, table)} ({cell.difference_text})")
        phrases = [
            f"{label} {', '.join(groups[kind])}"
            for kind, label in (
                ("above", "above random by more than the seeds' spread in"),
                ("below", "below random by more than the seeds' spread in"),
                ("within", "within the seeds' spread of random in"),
                ("single", "not to be judged from one seed in"),
            )
            if kind in groups
        ]
        if phrases:
            found.append((row, "; ".join(phrases) + "."))
    return found


def column_name(column: Column, table: Table) -> str:
    """A column's name where it stands alone: the task, with the measure or the protocol where the task has several."""
    same = [other for other in table.columns if other.task == column.task]
    name = column.title
    if len({other.measure for other in same}) > 1:
        name += f" {column.measure}"
    if len({other.protocol_text for other in same}) > 1:
        name += f" [{column.protocol_text}]"
    return name


def legend(table: Table) -> str:
    """How to read the table."""
    parts = [
        "All figures in percent, higher is better.",
        "Bold: the highest of a column, as printed; it is no test of significance.",
    ]
    if any(cell.difference is not None for cells in table.cells.values() for cell in cells):
        parts.append("Signed: the difference to the random row, taken before rounding.")
    if table.several_seeds():
        parts.append(
            "±: the sample standard deviation s over n seeds; a difference counts as more than the spread if it "
            "exceeds √(s² + s²) of the two rows."
        )
    return " ".join(parts)


def conclusions(found: Collected, table: Table) -> list[str]:
    """What may and may not be concluded from this report."""
    records = found.records
    points = []
    demo = [record for record in records if "demo" in record.protocol.lower()]
    if demo:
        points.append(
            "The demo set is a test of the pipe, not a benchmark: small composites of handwritten digits on two "
            "photographs. Its figures show that the path from images to this table works, and say nothing about how "
            "methods rank on real data."
        )
    points.append(
        "Figures may be compared within a column: one task, one version of one protocol. They may not be compared with "
        "figures of another protocol, published ones included."
    )
    others = list(dict.fromkeys(record.init for record in records if record.adapted))
    if others:
        points.append(
            f"The encoder of {', '.join(others)} is not the recipe's own, which the random row has: a difference to it, or to a row "
            "with another encoder, is not one of pre-training alone."
        )
    single = [column_name(c, table) for i, c in enumerate(table.columns) if _most_seeds(table, i) == 1]
    if single:
        points.append(
            f"One seed was run for {', '.join(single)}: how much another seed would change these figures is not known."
        )
    for column in _differing(records, table):
        points.append(
            f"The settings (config hash) differ between the rows of {column_name(column, table)}, see Provenance: "
            "a difference may come from them."
        )
    rows = {record.init for record in records}
    if RANDOM not in rows:
        points.append("There is no random row, so nothing here says what the checkpoints add to an untrained backbone.")
    selections = distinct(f"{TITLES.get(r.task, r.task)}: {r.selection}" for r in records if r.selection)
    if selections:
        points.append(f"How the reported weights and settings were chosen: {'; '.join(selections)}.")
    damaged = distinct(f"{TITLES.get(r.task, r.task)}, {r.init}: {r.damaged}" for r in records if r.damaged)
    if damaged:
        points.append(
            "Damaged images were met, replaced by the next one in training and shown as black images in evaluation "
            f"({'; '.join(damaged)}); damaged.txt in each task's folder names them."
        )
    missing = [f"{row}: {', '.join(names)}" for row, names in _missing(table).items() if names]
    if missing:
        points.append(f"Not run for {'; for '.join(missing)}.")
    return points + found.notes


def protocols(records: Sequence[Record]) -> Grid:
    """What was measured and what of the backbone was read."""
    rows = distinct(
        (
            TITLES.get(r.task, r.task),
            f"{r.protocol} v{r.protocol_version}",
            r.metric,
            mapping_text(r.features),
            r.selection,
            r.config_hash,
        )
        for r in records
    )
    return Grid(("Task", "Protocol", "Headline metric", "Features read", "Selection", "Config hash"), rows)


def measurements(records: Sequence[Record], environments: Sequence[tuple]) -> Grid:
    """What each figure cost: one row per row of the table and task, seeds together."""
    groups: dict[tuple, list[Record]] = {}
    for record in records:
        key = record.init, record.task, record.protocol, record.protocol_version
        groups.setdefault(key, []).append(record)
    rows = []
    for (init, task, *_), own in groups.items():
        own.sort(key=lambda record: record.seed)
        letters = distinct(letter(environments.index(environment(record))) for record in own)
        rows.append(
            (
                init,
                TITLES.get(task, task),
                ", ".join(str(record.seed) for record in own),
                ", ".join(f"{record.value:.2f}" for record in own),
                own[-1].config_hash[:8],
                duration(sum(record.wall_s for record in own)),
                gpu_hours(own),
                size(max(record.peak_bytes for record in own)),
                ", ".join(distinct(f"{record.images_seen:,}" for record in own)),
                ", ".join(letters),
            )
        )
    head = ("Row", "Task", "Seeds", "Value (%)", "Config", "Wall time", "GPU-hours", "Peak memory", "Images seen", "On")
    return Grid(head, rows, numeric=(3, 5, 6, 7, 8))


def checkpoints(records: Sequence[Record]) -> Grid:
    """Which file each row came from, and what loading it did."""
    rows = []
    for record in records:
        if record.checkpoint is None:
            continue
        other = {key: value for key, value in record.checkpoint.items() if key not in ("path", "sha256", "training")}
        sha256 = str(record.checkpoint.get("sha256", ""))
        trained = training_text(record.checkpoint.get("training"))
        rows.append((record.init, str(record.checkpoint.get("path", "")), sha256[:16], trained, mapping_text(other)))
    return Grid(("Row", "File", "SHA-256 (first 16)", "Pre-training", "Loading"), distinct(rows))


def training_text(training: dict[str, Any] | None) -> str:
    """What a checkpoint says of its own pre-training: config, images, time, machine, revision."""
    if not training:
        return "the file does not say"
    parts = [str(training["config"])] if training.get("config") else []
    if training.get("images_seen"):
        parts.append(f"{training['images_seen']:,} images")
    if training.get("wall_s"):
        parts.append(duration(training["wall_s"]))
    if training.get("hardware"):
        parts.append(hardware_text(training["hardware"]))
    if training.get("git"):
        parts.append(f"git {training['git'][:12]}")
    return ", ".join(parts)


def environment(record: Record) -> tuple[str, str, str]:
    """Where a record was measured: git revision, packages, hardware."""
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    return record.git or "not from a git checkout", versions, hardware_text(record.hardware)


def environments(records: Sequence[Record]) -> list[tuple[str, str, str]]:
    """Every distinct environment, by first use: A, B, ..."""
    return distinct(environment(record) for record in records)


def letter(index: int) -> str:
    """A, B, ... Z, then 27, 28, ..."""
    return chr(ord("A") + index) if index < 26 else str(index + 1)


def hardware_text(hardware: dict[str, Any]) -> str:
    """A machine in words."""
    gpus = int(hardware.get("gpus") or 1)
    parts = [f"{gpus} × {hardware['gpu']}" if gpus > 1 else str(hardware["gpu"])] if hardware.get("gpu") else []
    parts.append(str(hardware.get("cpu") or "unknown processor"))
    counts = ((hardware.get(f"{unit}s"), unit) for unit in ("core", "thread"))
    parts += [f"{count} {unit}{'' if count == 1 else 's'}" for count, unit in counts if count]
    return ", ".join(parts)


def gpu_hours(records: Iterable[Record]) -> str:
    """GPUs times hours; 0 without a GPU."""
    hours = sum(r.wall_s * int(r.hardware.get("gpus") or 1) / 3600 for r in records if r.hardware.get("gpu"))
    return f"{hours:,.2f}" if hours else "0"


def mapping_text(mapping: dict[str, Any]) -> str:
    """A mapping on one line: empty values left out, long lists by their length."""

    def text(value: Any) -> str:
        if isinstance(value, list | dict) and len(value) > 6:
            return f"{len(value)} entries"
        if isinstance(value, list):
            return ", ".join(map(str, value))
        return value if isinstance(value, str) else json.dumps(value)

    return "; ".join(
        f"{key.replace('_', ' ')}: {text(value)}" for key, value in mapping.items() if value not in ([], {}, "", None)
    )


def duration(seconds: float) -> str:
    """48 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    whole = timedelta(seconds=round(seconds))
    minutes, rest = divmod(int(whole.total_seconds()), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def size(number: float) -> str:
    """Bytes in MiB or GiB."""
    return f"{number / 2**20:.0f} MiB" if number < 2**30 else f"{number / 2**30:.2f} GiB"


def distinct(items: Iterable[Any]) -> list[Any]:
    """Items without repeats, in order."""
    return list(dict.fromkeys(items))


def _most_seeds(table: Table, index: int) -> int:
    return max(len(table.cells[row][index].values) for row in table.rows)


def _differing(records: Sequence[Record], table: Table) -> list[Column]:
    columns = {(c.task, c.protocol, c.version): c for c in reversed(table.columns) if c.protocol}
    return [c for c in columns.values() if len({r.config_hash for r in records if c.holds(r)}) > 1][::-1]


def _missing(table: Table) -> dict[str, list[str]]:
    return {
        row: [column_name(c, table) for c, cell in zip(table.columns, table.cells[row], strict=True) if not cell.values]
        for row in table.rows
    }
