"""report.md: the table and everything that qualifies it, readable as plain text too."""

from __future__ import annotations

from collections.abc import Sequence

from mimeval.transfer.report import words
from mimeval.transfer.report.collect import Collected
from mimeval.transfer.report.table import Cell, Table
from mimeval.transfer.report.words import Grid


def render(found: Collected, table: Table) -> str:
    """The markdown file's text."""
    records = found.records
    environments = words.environments(records)
    lines = ["# Transfer report", ""]
    lines += [f"- **{term}**: {escape(text)}" for term, text in words.header(found, table)]
    lines += ["", "## Results", "", results(table), "", words.legend(table)]
    lines += ["", *footnotes(table)] if table.footnotes else []
    verdicts = words.verdicts(table)
    if verdicts:
        lines += [
            "",
            "## How the rows compare",
            "",
            *(f"- **{escape(row)}** is {escape(text)}" for row, text in verdicts),
        ]
    lines += ["", "## What may be concluded", "", *(f"- {escape(text)}" for text in words.conclusions(found, table))]
    lines += ["", "## Provenance", "", grid(words.protocols(records))]
    lines += ["", grid(words.measurements(records, environments))]
    files = words.checkpoints(records)
    if files.rows:
        lines += ["", grid(files)]
    for index, (git, versions, hardware) in enumerate(environments):
        lines += ["", f"On {words.letter(index)}: git {escape(git)}; {escape(versions)}; {escape(hardware)}."]
    return "\n".join(lines) + "\n"


def footnotes(table: Table) -> list[str]:
    """A line for each note, by its mark; two spaces at its end break the line in markdown."""
    return [f"[{mark}] {escape(text)}  " for mark, text in enumerate(table.footnotes, 1)]


def printed(table: Table) -> str:
    """What `mimeval transfer` and `mimeval report` print: the table, and the notes that its marks stand for."""
    return "\n".join([results(table), *(f"[{mark}] {text}" for mark, text in enumerate(table.footnotes, 1))])


def results(table: Table) -> str:
    """The results table alone."""
    head = ["", *(f"{column.title} {column.measure}" for column in table.columns)]
    protocols = ["*protocol*", *(column.protocol_text for column in table.columns)]
    rows = [[row + marks(table.row_marks[row]), *(_cell(cell) for cell in table.cells[row])] for row in table.rows]
    return grid(Grid(head, [protocols, *rows], numeric=range(1, len(head))))


def grid(table: Grid) -> str:
    """A markdown table, padded so that it reads as plain text."""
    rows = [[escape(text) for text in row] for row in (table.head, *table.rows)]
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(table.head))]
    right = set(table.numeric)

    def line(row: Sequence[str]) -> str:
        return (
            "| "
            + " | ".join(
                t.rjust(w) if i in right else t.ljust(w) for i, (t, w) in enumerate(zip(row, widths, strict=True))
            )
            + " |"
        )

    rule = "| " + " | ".join("-" * (w - 1) + (":" if i in right else "-") for i, w in enumerate(widths)) + " |"
    return "\n".join([line(rows[0]), rule, *map(line, rows[1:])])


def marks(numbers: Sequence[int]) -> str:
    """Marks of notes: ` [1, 2]`."""
    return f" [{', '.join(map(str, numbers))}]" if numbers else ""


def escape(text: str) -> str:
    """Text that markdown and the HTML it may become show as it is."""
    flat = " ".join(str(text).split())
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "\\|")


def _cell(cell: Cell) -> str:
    value = " ".join(filter(None, [cell.value_text, cell.spread_text]))
    extra = ", ".join(filter(None, [cell.difference_text, cell.count_text]))
    return (f"**{value}**" if cell.best else value) + (f" ({extra})" if extra else "") + marks(cell.marks)
