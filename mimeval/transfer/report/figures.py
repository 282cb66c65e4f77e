"""The page's pictures: the results as strips, training curves, reconstructions, predictions beside the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from mimeval.transfer.report import words
from mimeval.transfer.report.charts import COLOURS, MOST_POINTS, Line, Strip, line_chart, short, strip_plot
from mimeval.transfer.report.collect import PRETRAIN, Collected, Pretraining
from mimeval.transfer.report.curves import PRETRAIN_CURVES
from mimeval.transfer.report.pictures import Picture
from mimeval.transfer.report.table import RANDOM, TITLES, Table

LOSS = "loss"
BAND = (
    f"Horizontal: steps. Curves of more than {MOST_POINTS} points are averaged; the band behind them spans the least "
    "and greatest of the averaged points. Figures beside names are last values, averaged over seeds."
)
# What stands in the prediction pictures of a task (mimeval/transfer/pictures.py draws them).
CLASSES = "The predicted class and, in brackets, the true one; green is right, red is wrong."
DRAWN = {
    "knn": CLASSES,
    "linear": CLASSES,
    "finetune": CLASSES,
    "detection": "Boxes and masks: the truth on the left, what is predicted on the right.",
    "segmentation": "Label maps over the images: the truth on the left, what is predicted on the right.",
}


def results(table: Table) -> str:
    """One strip plot per column that several rows have: ticks for runs, a dot for the mean, a dashed line at random."""
    charts = []
    for index, column in enumerate(table.columns):
        cells = {row: table.cells[row][index] for row in table.rows}
        if sum(bool(cell.values) for cell in cells.values()) < 2:
            continue
        strips = [
            Strip(row, cell.values, " ".join(filter(None, [cell.value_text, cell.spread_text])), colour)
            for colour, (row, cell) in enumerate(cells.items())
        ]
        name = words.column_name(column, table)
        random = cells.get(RANDOM)
        label = f"{name}: " + ", ".join(f"{strip.name} {strip.text}" for strip in strips)
        charts.append((name, strip_plot(label, strips, random.mean if random and random.values else None), ""))
    if not charts:
        return ""
    return _charts(charts) + (
        '<p class="small soft">One tick per seed, the dot is their mean, the dashed line is the random row. '
        "Each plot has its own scale.</p>"
    )


def curves(found: Collected, table: Table) -> str:
    """Pre-training's four curves, then each task's training loss with one line per run in its row's colour."""
    parts = []
    for run in found.pretraining:
        drawn = _pretraining_curves(run)
        if drawn:
            parts.append(f"<h3>{escape(_title(run))}</h3>{_charts(drawn)}")
    tasks = [
        chart for task in words.distinct(a.task for a in found.artifacts) if (chart := _task_curve(task, found, table))
    ]
    if tasks:
        parts.append(f"<h3>Training loss of the tasks</h3>{_charts(tasks)}")
    if not parts:
        return '<p class="soft">No training curves were found in this folder.</p>'
    return "".join(parts) + f'<p class="small soft">{BAND}</p>'


def _title(run: Pretraining) -> str:
    return "Pre-training" if run.name == PRETRAIN else f"Pre-training: {run.name.removeprefix(PRETRAIN + '/')}"


def _pretraining_curves(run: Pretraining) -> list[tuple[str, str, str]]:
    drawn = []
    for key, title, unit in PRETRAIN_CURVES:
        points = [(step, value / unit) for step, value in run.curves.values.get(key, [])] if run.curves else []
        finite = [point for point in points if math.isfinite(point[1])]
        if not finite:
            continue
        first, last = finite[0], finite[-1]
        text = f"{short(first[1], 3)} at step {first[0]:,}, {short(last[1], 3)} at step {last[0]:,}"
        if len(finite) < len(points):
            text += f"; {len(points) - len(finite)} values are not finite and leave gaps"
        drawn.append((title, line_chart(f"{title}: {text}", [Line(run.name, points, 1)]), f"<span>{text}</span>"))
    return drawn


def _task_curve(task: str, found: Collected, table: Table) -> tuple[str, str, str] | None:
    lines, keys = [], []
    for artifacts in sorted((a for a in found.artifacts if a.task == task), key=lambda a: table.rows.index(a.init)):
        colour = table.rows.index(artifacts.init)
        own = [run.values[LOSS] for run in artifacts.runs if run.values.get(LOSS)]
        lines += [Line(artifacts.init, points, colour) for points in own]
        ends = [points[-1][1] for points in own if math.isfinite(points[-1][1])]
        if ends:
            keys.append(f"<span>{swatch(colour)}{escape(artifacts.init)} {short(sum(ends) / len(ends), 3)}</span>")
    title = TITLES.get(task, task)
    chart = line_chart(f"{title}: training loss over steps", lines)
    return (title, chart, "".join(keys)) if chart else None


def reconstructions(found: Collected) -> str:
    """The last picture of every pre-training, the earlier ones folded away."""
    parts = []
    for run in found.pretraining:
        if not run.reconstructions.pictures:
            continue
        *earlier, last = run.reconstructions.pictures
        truth = {True: words.NORMALISED, False: words.NOT_NORMALISED, None: words.UNKNOWN_TARGET}[run.normalised]
        parts.append(
            f"<h3>{escape(_title(run))}, {escape(last.title)}</h3>"
            "<p>Each row is one image: the original, then for each part what the encoder sees and what the model makes "
            f"of the rest. Visible patches are shown as they are. {escape(truth)}</p>"
            f"<figure>{_image(last, f'reconstructions after {last.title}')}</figure>"
        )
        if earlier:
            shown = "".join(_captioned(picture, f"reconstructions after {picture.title}") for picture in earlier)
            count = f"Earlier pictures ({len(earlier)} of {run.reconstructions.total - 1})"
            parts.append(f'<details><summary>{count}</summary><div class="gallery">{shown}</div></details>')
    return "".join(parts) or '<p class="soft">No reconstructions were found in this folder.</p>'


def predictions(found: Collected, table: Table) -> str:
    """For every task with pictures, one column per row of the table."""
    parts = []
    for task in words.distinct(artifacts.task for artifacts in found.artifacts):
        own = [entry for entry in found.artifacts if entry.task == task and entry.predictions.pictures]
        if own:
            most = max((entry.predictions for entry in own), key=lambda gallery: gallery.total)
            some = f"{len(most.pictures)} of {most.total} pictures."
            by_row = {entry.init: entry.predictions.pictures for entry in own}
            # A row without pictures keeps its place, so that a column is the same row in every task.
            shown = "".join(_row_of(task, row, by_row.get(row, ()), table) for row in table.rows)
            parts.append(
                f'<h3>{escape(TITLES.get(task, task))}</h3><p class="small soft">{DRAWN.get(task, "")} {some}</p>'
                f'<div class="gallery">{shown}</div>'
            )
    return "".join(parts) or '<p class="soft">No predictions were found in this folder.</p>'


def _row_of(task: str, row: str, pictures: Sequence[Picture], table: Table) -> str:
    title = f'<figcaption class="title">{swatch(table.rows.index(row))}{escape(row)}</figcaption>'
    if not pictures:
        return f'<figure>{title}<span class="absent">no pictures</span></figure>'
    images = "".join(_image(picture, f"{row}, {task}: picture {picture.title}") for picture in pictures)
    # Pictures are never enlarged: small ones stand side by side.
    side = 0.8 * min(max(picture.width for picture in pictures), 260)
    return f'<figure>{title}<div class="prints" style="--print:{side:.0f}px">{images}</div></figure>'


def _captioned(picture: Picture, text: str) -> str:
    return f'<figure><figcaption class="title">{escape(picture.title)}</figcaption>{_image(picture, text)}</figure>'


def _image(picture: Picture, text: str) -> str:
    return f'<img src="{picture.uri}" width="{picture.width}" height="{picture.height}" alt="{escape(text)}">'


def _charts(charts: Sequence[tuple[str, str, str]]) -> str:
    figures = [
        f'<figure><figcaption class="title">{escape(title)}<span class="key">{key}</span></figcaption>{chart}</figure>'
        for title, chart, key in charts
    ]
    return f'<div class="charts">{"".join(figures)}</div>'


def swatch(colour: int) -> str:
    """The dot that names a row's colour."""
    return f'<span class="swatch c{colour % COLOURS}"></span>'
