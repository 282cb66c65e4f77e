"""Writes both reports, each whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mimeval.errors import UserError
from mimeval.files import write_whole
from mimeval.transfer.report import html, markdown
from mimeval.transfer.report.collect import collect
from mimeval.transfer.report.table import Table, build_table


@dataclass(frozen=True)
class Written:
    """The files of a report, and the table that they show."""

    html: Path
    markdown: Path
    table: Table


def write_report(folder: Path, out: Path | None = None) -> Written:
    """Writes report.html and report.md of a results folder to ``out``, by default into the folder itself.

    Raises:
        UserError: no folder, no results, a malformed line, or a folder that cannot be written.
    """
    found = collect(folder)
    table = build_table(found.records)
    pages = {"report.html": html.render(found, table), "report.md": markdown.render(found, table)}
    out = out or folder
    for name, text in pages.items():
        write_text(out / name, text)
    return Written(out / "report.html", out / "report.md", table)


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all. UserError if it cannot be written."""
    try:
        write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}; give a writable folder with --out.") from error
