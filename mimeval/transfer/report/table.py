"""The results table: which figure stands where, its spread over seeds, its difference to random, its notes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from mimeval.transfer.results import TASKS, Record

RANDOM = "random"
TITLES = {
    "knn": "k-NN",
    "linear": "Linear probe",
    "finetune": "Fine-tuning",
    "detection": "Detection",
    "segmentation": "Segmentation",
}
# The figures of a task that get a column: what it is called, and its key in Record.metrics ('' is the headline figure).
MEASURES: dict[str, tuple[tuple[str, str], ...]] = {
    "knn": (("top-1", ""),),
    "linear": (("top-1", ""),),
    "finetune": (("top-1", ""),),
    "detection": (("box AP", ""), ("mask AP", "segm_mAP")),
    "segmentation": (("mIoU", ""),),
}


@dataclass(frozen=True)
class Column:
    """What rows are compared in: a figure of one task under one version of one protocol, '' if it was never run."""

    task: str
    measure: str
    key: str = ""
    protocol: str = ""
    version: int = 0

    @property
    def title(self) -> str:
        return TITLES.get(self.task, self.task)

    @property
    def protocol_text(self) -> str:
        return f"{self.protocol} v{self.version}" if self.protocol else "not run"

    def holds(self, record: Record) -> bool:
        """Whether a record's figure belongs here."""
        return (record.task, record.protocol, record.protocol_version) == (self.task, self.protocol, self.version)

    def value(self, record: Record) -> float | None:
        """The record's figure in this column, in percent."""
        return record.metrics.get(self.key) if self.key else record.value


@dataclass
class Cell:
    """One row's figure: every run's value (percent), difference of the means to random, marks of its notes."""

    values: list[float] = field(default_factory=list)
    difference: float | None = None
    clear: bool | None = None  # whether |difference| exceeds the spread of both rows; None where a spread is unknown
    best: bool = False
    marks: list[int] = field(default_factory=list)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over seeds; None for a single run."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def value_text(self) -> str:
        return f"{self.mean:.1f}" if self.values else "not run"

    @property
    def spread_text(self) -> str:
        return "" if self.spread is None else f"± {self.spread:.1f}"

    @property
    def count_text(self) -> str:
        return f"n = {len(self.values)}" if len(self.values) > 1 else ""

    @property
    def difference_text(self) -> str:
        return "" if self.difference is None else signed(self.difference)


@dataclass(frozen=True)
class Table:
    """``cells[row][column]``; ``row_marks``: notes on a whole row; ``footnotes[mark - 1]``: a note's text."""

    rows: list[str]
    columns: list[Column]
    cells: dict[str, list[Cell]]
    row_marks: dict[str, list[int]]
    footnotes: list[str]

    def several_seeds(self) -> bool:
        """Whether any figure is a mean over seeds."""
        return any(len(cell.values) > 1 for cells in self.cells.values() for cell in cells)


def signed(value: float) -> str:
    """A difference with its sign, one digit: +3.2, −0.4, 0.0."""
    text = f"{abs(value):.1f}"
    return text if text == "0.0" else ("+" if value > 0 else "−") + text


def build_table(records: Sequence[Record]) -> Table:
    """Rows by first record, random before all; columns of the five tasks always, other tasks' after them."""
    inits = dict.fromkeys(record.init for record in records)
    rows = sorted(inits, key=lambda init: init != RANDOM)
    columns = _columns(records)
    cells: dict[str, list[Cell]] = {}
    notes: dict[str, list[list[str]]] = {}
    for row in rows:
        own = [[r for r in records if r.init == row and column.holds(r)] for column in columns]
        cells[row] = [_cell(column, found) for column, found in zip(columns, own, strict=True)]
        notes[row] = [_notes(found) for found in own]
    for index in range(len(columns)):
        _compare([cells[row][index] for row in rows], cells[RANDOM][index] if RANDOM in cells else None)
    row_marks, footnotes = _number(rows, cells, notes)
    return Table(rows, columns, cells, row_marks, footnotes)


def _columns(records: Sequence[Record]) -> list[Column]:
    tasks = dict.fromkeys([*TASKS, *(record.task for record in records)])
    columns = []
    for task in tasks:
        own = [record for record in records if record.task == task]
        # Figures of different protocols or versions are never compared, so they never share a column.
        protocols = sorted({(r.protocol, r.protocol_version) for r in own}) or [("", 0)]
        measures = MEASURES.get(task) or ((own[0].metric, ""),)
        columns += [Column(task, name, key, *protocol) for protocol in protocols for name, key in measures]
    return columns


def _cell(column: Column, records: Sequence[Record]) -> Cell:
    values = [column.value(record) for record in sorted(records, key=lambda record: record.seed)]
    return Cell([value for value in values if value is not None])


def _notes(records: Sequence[Record]) -> list[str]:
    found = [text for record in records for text in (record.note.strip(), _loading(record), _adapted(record)) if text]
    return list(dict.fromkeys(found))


def _loading(record: Record) -> str:
    checkpoint = record.checkpoint or {}
    # What loading did stands in the checkpoint's own mapping or in one below it.
    reports = [checkpoint, *(value for value in checkpoint.values() if isinstance(value, dict))]
    waived = dict.fromkeys(str(name) for report in reports for name in report.get("waived") or ())
    return f"The checkpoint was loaded only in part, as asked for; waived: {', '.join(waived)}." if waived else ""


def _adapted(record: Record) -> str:
    differs = (record.checkpoint or {}).get("adapted") or ()
    return (
        f"The encoder is the checkpoint's where the recipe has another: {', '.join(map(str, differs))}."
        if differs
        else ""
    )


def _compare(cells: list[Cell], random: Cell | None) -> None:
    run = [cell for cell in cells if cell.values]
    if len(run) > 1:
        # As printed: rows that print the same figure are equally best.
        top = max(round(cell.mean, 1) for cell in run)
        for cell in run:
            cell.best = round(cell.mean, 1) == top
    if random is None or not random.values:
        return
    for cell in run:
        if cell is random:
            continue
        cell.difference = cell.mean - random.mean
        if cell.spread is not None and random.spread is not None:
            cell.clear = abs(cell.difference) > math.hypot(cell.spread, random.spread)


def _number(
    rows: list[str], cells: dict[str, list[Cell]], notes: dict[str, list[list[str]]]
) -> tuple[dict[str, list[int]], list[str]]:
    footnotes: list[str] = []
    row_marks: dict[str, list[int]] = {}

    def mark(text: str) -> int:
        if text not in footnotes:
            footnotes.append(text)
        return footnotes.index(text) + 1

    for row in rows:
        per_cell = [texts for cell, texts in zip(cells[row], notes[row], strict=True) if cell.values]
        # A note on every figure of a row stands once, at the row's name.
        common = [text for text in per_cell[0] if all(text in texts for texts in per_cell)] if per_cell else []
        row_marks[row] = [mark(text) for text in common]
        for cell, texts in zip(cells[row], notes[row], strict=True):
            cell.marks = [mark(text) for text in texts if text not in common]
    return row_marks, footnotes
