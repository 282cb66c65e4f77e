"""report.html: one file that needs no other and no network. There is no script; light and dark are style alone."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files

from mimeval.transfer.report import figures, words
from mimeval.transfer.report.collect import Collected
from mimeval.transfer.report.table import Cell, Column, Table
from mimeval.transfer.report.words import Grid

THEME = (
    '<fieldset class="theme"><legend>Colours</legend>'
    '<label><input type="radio" name="theme" id="auto" checked>auto</label>'
    '<label><input type="radio" name="theme" id="light">light</label>'
    '<label><input type="radio" name="theme" id="dark">dark</label></fieldset>'
)


def render(found: Collected, table: Table) -> str:
    """The page's text."""
    title = f"Transfer report: {found.folder.resolve().name}"
    style = files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    sections = [
        ("Results", _results(table)),
        ("How the rows compare", _comparison(table)),
        ("What may be concluded", _list(words.conclusions(found, table))),
        ("Training curves", figures.curves(found, table)),
        ("Reconstructions", figures.reconstructions(found)),
        ("Predictions", figures.predictions(found, table)),
        ("Provenance", _provenance(found)),
    ]
    body = "".join(
        f'<section id="{_anchor(name)}"><h2>{name}</h2>{content}</section>' for name, content in sections if content
    )
    links = "".join(f'<a href="#{_anchor(name)}">{name}</a>' for name, content in sections if content)
    header = _header(title, found, table)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>\n{style}</style></head>\n"
        f'<body>{header}<nav aria-label="Sections">{links}</nav><main>{body}</main></body></html>\n'
    )


def _header(title: str, found: Collected, table: Table) -> str:
    facts = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in words.header(found, table))
    return f'<header><div class="top"><h1>{escape(title)}</h1>{THEME}</div><dl class="facts">{facts}</dl></header>'


def _results(table: Table) -> str:
    head = "".join(
        f'<th scope="col" class="number"><strong>{escape(column.title)}</strong> {escape(column.measure)}'
        f'<span class="protocol">{escape(column.protocol_text)}</span></th>'
        for column in table.columns
    )
    rows = []
    for colour, row in enumerate(table.rows):
        cells = "".join(
            _cell(cell, column, table) for cell, column in zip(table.cells[row], table.columns, strict=True)
        )
        name = f"{figures.swatch(colour)}{escape(row)}{_marks(table.row_marks[row])}"
        rows.append(f'<tr><th scope="row">{name}</th>{cells}</tr>')
    notes = "".join(f'<li id="note-{mark}">{escape(text)}</li>' for mark, text in enumerate(table.footnotes, 1))
    return (
        f'<div class="scroll"><table class="results"><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        + (f'<ol class="notes">{notes}</ol>' if notes else "")
        + f'<p class="small soft">{escape(words.legend(table))}</p>'
    )


def _cell(cell: Cell, column: Column, table: Table) -> str:
    label = escape(words.column_name(column, table))
    if not cell.values:
        return f'<td class="number" data-label="{label}"><span class="absent">{cell.value_text}</span></td>'
    spread = f' <span class="spread">{cell.spread_text}</span>' if cell.spread_text else ""
    figure = (
        f'<span class="figure"><data value="{cell.mean!r}">{cell.value_text}</data>{spread}{_marks(cell.marks)}</span>'
    )
    details = []
    if cell.difference is not None:
        # Colour only where a difference is clear of the seeds' spread, or where there is no spread to hold it against.
        side = "" if cell.clear is False else ' class="up"' if cell.difference > 0 else ' class="down"'
        details.append(f"<span{side}>{cell.difference_text}</span>")
    if cell.count_text:
        details.append(cell.count_text)
    detail = f'<span class="detail">{" · ".join(details)}</span>' if details else ""
    runs = ", ".join(f"{value:.2f}" for value in cell.values)
    best = " best" if cell.best else ""
    return f'<td class="number{best}" data-label="{label}" title="{runs}"><div>{figure}{detail}</div></td>'


def _marks(numbers: Sequence[int]) -> str:
    links = ",".join(f'<a href="#note-{n}" aria-label="note {n}">{n}</a>' for n in numbers)
    return f"<sup>{links}</sup>" if numbers else ""


def _comparison(table: Table) -> str:
    sentences = "".join(
        f"<li><strong>{escape(row)}</strong> is {escape(text)}</li>" for row, text in words.verdicts(table)
    )
    return (f"<ul>{sentences}</ul>" if sentences else "") + figures.results(table)


def _provenance(found: Collected) -> str:
    places = words.environments(found.records)
    parts = [
        "<h3>Protocols and what was read of the backbone</h3>",
        _grid(words.protocols(found.records)),
        "<h3>Measurements</h3>",
        _grid(words.measurements(found.records, places)),
    ]
    loaded = words.checkpoints(found.records)
    if loaded.rows:
        parts += ["<h3>Checkpoints</h3>", _grid(loaded)]
    for index, (git, versions, hardware) in enumerate(places):
        facts = (("Git", git), ("Packages", versions), ("Hardware", hardware))
        listed = "".join(f"<dt>{term}</dt><dd>{escape(text)}</dd>" for term, text in facts)
        parts.append(f'<h3>Measured on {words.letter(index)}</h3><dl class="facts">{listed}</dl>')
    return "".join(parts)


def _grid(grid: Grid) -> str:
    right = set(grid.numeric)

    def cells(texts: Sequence[str], tag: str, extra: str = "") -> str:
        kinds = [' class="number"' if i in right else "" for i in range(len(texts))]
        return "".join(f"<{tag}{extra}{kind}>{escape(text)}</{tag}>" for kind, text in zip(kinds, texts, strict=True))

    rows = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in grid.rows)
    head = cells(grid.head, "th", ' scope="col"')
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _list(points: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(point)}</li>" for point in points) + "</ul>"


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")
