"""Line charts and strip plots as inline SVG: no library, colours from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 360, 196
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 24
MOST_POINTS = 240  # more than a chart of this width can show
COLOURS = 6  # of the style sheet; series beyond them repeat colours with another dash
DASHES = ("", "5 3", "1.5 3")

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One series: points by rising x, a gap where y is not finite. ``colour``: a row's index, equal in every chart."""

    name: str
    points: Sequence[Point]
    colour: int = 0


@dataclass(frozen=True)
class Strip:
    """One row of a strip plot: the values of its runs, and what is written at the right."""

    name: str
    values: Sequence[float]
    text: str
    colour: int = 0


def line_chart(label: str, lines: Sequence[Line]) -> str:
    """An SVG of lines over steps. Long series are averaged in buckets, behind them a band from least to greatest."""
    finite = [(x, y) for line in lines for x, y in line.points if math.isfinite(y)]
    if not finite:
        return ""
    xs, ys = [x for x, _ in finite], [y for _, y in finite]
    x_axis = _Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    low, high = _padded(min(ys), max(ys))
    y_axis = _Axis(low, high, HEIGHT - BOTTOM, TOP)
    parts = [_grid(x_axis, y_axis)]
    for line in lines:
        look = f'class="c{line.colour % COLOURS}"' + _dash(line.colour // COLOURS)
        for piece in _pieces(line.points):
            buckets = _buckets(piece)
            band = [(x, high) for x, _, _, high in buckets] + [(x, low) for x, _, low, _ in reversed(buckets)]
            if len(piece) > len(buckets):
                parts.append(f'<polygon {look} points="{_path(band, x_axis, y_axis)}"/>')
            if len(buckets) == 1:
                x, y = x_axis.at(buckets[0][0]), y_axis.at(buckets[0][1])
                parts.append(
                    f'<circle {look} cx="{x:.1f}" cy="{y:.1f}" r="2.5"><title>{escape(line.name)}</title></circle>'
                )
                continue
            path = _path([(x, mean) for x, mean, _, _ in buckets], x_axis, y_axis)
            parts.append(f'<polyline {look} points="{path}"><title>{escape(line.name)}</title></polyline>')
    return _svg(label, "".join(parts), HEIGHT)


def strip_plot(label: str, strips: Sequence[Strip], reference: float | None = None) -> str:
    """An SVG with one row per strip: a tick per run, a dot at their mean, a dashed line at ``reference``."""
    values = [value for strip in strips for value in strip.values]
    if not values:
        return ""
    row, left, right, base = 24, 118, 70, 22
    height = row * len(strips) + base
    low, high = _padded(min(values), max(values), 0.08)
    axis = _Axis(low, high, left, WIDTH - right)
    bottom = height - base + 2
    parts = []
    for tick in axis.ticks(3):
        x = axis.at(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - 6}" text-anchor="middle">{short(tick)}</text>')
    if reference is not None:
        x = axis.at(reference)
        parts.append(f'<line class="reference" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom}"/>')
    for index, strip in enumerate(strips):
        y, look = row * index + row / 2, f'class="c{strip.colour % COLOURS}"'
        parts.append(f'<text class="name" x="0" y="{y + 4}">{escape(_clipped(strip.name))}</text>')
        parts.append(f'<text class="value" x="{WIDTH}" y="{y + 4}" text-anchor="end">{escape(strip.text)}</text>')
        if not strip.values:
            continue
        places = [axis.at(value) for value in strip.values]
        if len(places) > 1:
            parts.append(f'<line {look} x1="{min(places):.1f}" x2="{max(places):.1f}" y1="{y}" y2="{y}"/>')
            parts += [f'<line {look} x1="{x:.1f}" x2="{x:.1f}" y1="{y - 6}" y2="{y + 6}"/>' for x in places]
        mean = sum(places) / len(places)
        parts.append(f'<circle {look} cx="{mean:.1f}" cy="{y}" r="3.5"><title>{escape(strip.name)}</title></circle>')
    return _svg(label, "".join(parts), height)


def short(value: float, digits: int = 4) -> str:
    """A number in a few significant digits: 12k, 0.25, 1.5e-3."""
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 1e6:
        return f"{value / 1e6:.{digits}g}M"
    if size >= 1e4:
        return f"{value / 1e3:.{digits}g}k"
    if size < 1e-2:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:.{digits}g}" if size < 1000 else f"{value:.0f}"


class _Axis:
    # Maps low..high to start..end of the picture.
    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high, self.start, self.end = low, high, start, end

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 4) -> list[float]:
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        rough = span / count
        magnitude = 10.0 ** math.floor(math.log10(rough))
        step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, first + 2 * count + 3) if k * step <= self.high + 1e-9 * span]


def _padded(low: float, high: float, share: float = 0.05) -> Point:
    margin = (high - low) * share or abs(high) * 0.1 or 1.0
    # A quantity that is never negative gets no negative axis.
    return (max(low - margin, 0.0) if low >= 0 else low - margin), high + margin


def _grid(x_axis: _Axis, y_axis: _Axis) -> str:
    parts = []
    for tick in y_axis.ticks():
        y = y_axis.at(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{short(tick)}</text>')
    for tick in x_axis.ticks():
        x = x_axis.at(tick)
        anchor = "end" if x > WIDTH - RIGHT - 12 else "middle"
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{short(tick)}</text>')
    return "".join(parts)


def _pieces(points: Sequence[Point]) -> list[list[Point]]:
    # Runs of drawable points; a NaN must look like a gap, not like a straight line across it.
    pieces: list[list[Point]] = [[]]
    for x, y in points:
        if math.isfinite(y):
            pieces[-1].append((x, y))
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


def _buckets(points: Sequence[Point]) -> list[tuple[float, float, float, float]]:
    # (x, mean, least, greatest) of consecutive groups of points.
    size = math.ceil(len(points) / MOST_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [
        (sum(x for x, _ in group) / len(group), sum(ys) / len(ys), min(ys), max(ys))
        for group in groups
        for ys in [[y for _, y in group]]
    ]


def _path(points: Sequence[Point], x_axis: _Axis, y_axis: _Axis) -> str:
    return " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in points)


def _dash(index: int) -> str:
    dash = DASHES[index % len(DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _clipped(name: str, most: int = 17) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _svg(label: str, content: str, height: int) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{content}</svg>'
