"""Writes both reports, each whole or not at all."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mimeval.errors import UserError
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
    """Writes a file through a temporary one beside it, so that nobody ever meets half of it. UserError if it cannot."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes files that only their owner may read
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written: {error.strerror}; give a writable folder with --out.") from error
