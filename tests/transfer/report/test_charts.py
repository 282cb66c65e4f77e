import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from mimeval.transfer.report.charts import HEIGHT, MOST_POINTS, WIDTH, Line, Strip, line_chart, short, strip_plot


def points_of(chart, tag="polyline"):
    root = ElementTree.fromstring(chart)
    return [[tuple(map(float, p.split(","))) for p in e.attrib["points"].split()] for e in root.iter(tag)]


def test_a_line_is_drawn_to_scale():
    ((a, b, c),) = points_of(line_chart("loss", [Line("run", [(0, 4.0), (50, 2.0), (100, 1.0)])]))
    assert a[0] < b[0] < c[0] and a[1] < b[1] < c[1]  # down in value is down on the page
    assert b[0] - a[0] == pytest.approx(c[0] - b[0], abs=0.11)
    assert (b[1] - a[1]) / (c[1] - b[1]) == pytest.approx(2.0, rel=0.02)
    assert 0 <= a[0] and c[0] <= WIDTH and 0 <= a[1] and c[1] <= HEIGHT


def test_ticks_stand_where_their_values_are():
    chart = line_chart("loss", [Line("run", [(0, 0.0), (100, 1.0)])])
    root = ElementTree.fromstring(chart)
    ((start, end),) = points_of(chart)
    ticks = {float(t.text): float(t.attrib["y"]) - 3.5 for t in root.iter("text") if t.attrib["text-anchor"] == "end"}
    half = next(y for value, y in ticks.items() if value == 0.5)
    assert half == pytest.approx((start[1] + end[1]) / 2, abs=0.2)


def test_what_is_not_finite_is_a_gap():
    chart = line_chart("loss", [Line("run", [(0, 1.0), (1, 2.0), (2, math.nan), (3, 1.5), (4, 1.0)])])
    assert [len(piece) for piece in points_of(chart)] == [2, 2]
    assert "nan" not in chart.lower()


def test_long_series_are_averaged_over_a_band_that_holds_their_extremes():
    spike = [(step, 100.0 if step == 2500 else 1.0) for step in range(5000)]
    chart = line_chart("norm", [Line("run", spike)])
    ((*line,),), ((*band,),) = points_of(chart), points_of(chart, "polygon")
    assert len(line) <= MOST_POINTS
    top = min(y for _, y in band)
    assert top < min(y for _, y in line)
    ((*alone,),) = points_of(line_chart("norm", [Line("run", [(0, 1.0), (4999, 100.0)])]))
    assert top == pytest.approx(min(y for _, y in alone), abs=0.11)


def test_constant_and_single_points_can_be_drawn():
    assert points_of(line_chart("lr", [Line("run", [(0, 0.0), (10, 0.0)])]))
    assert "<circle" in line_chart("lr", [Line("run", [(5, 1e-3)])])


def test_nothing_to_draw_is_nothing():
    assert line_chart("loss", [Line("run", [(0, math.nan)])]) == ""
    assert line_chart("loss", []) == ""
    assert strip_plot("k-NN", [Strip("random", [], "not run")]) == ""


def test_names_are_escaped():
    for chart in (
        line_chart('a "label"', [Line("<script>", [(0, 1.0), (1, 2.0)])]),
        strip_plot("k-NN", [Strip("<script>", [1.0], "<b>")]),
    ):
        assert "<script>" not in chart and "<b>" not in chart
        ElementTree.fromstring(chart)


def test_a_strip_has_a_tick_per_run_and_a_dot_at_their_mean():
    root = ElementTree.fromstring(strip_plot("linear", [Strip("mae", [10.0, 20.0, 60.0], "30.0", 1)], reference=20.0))
    ticks = sorted(
        {float(e.attrib["x1"]) for e in root.iter("line") if e.get("class") == "c1" and e.get("x1") == e.get("x2")}
    )
    assert len(ticks) == 3
    dot = float(next(root.iter("circle")).attrib["cx"])
    assert dot == pytest.approx(sum(ticks) / 3, abs=0.1)
    reference = next(e for e in root.iter("line") if e.get("class") == "reference")
    assert float(reference.attrib["x1"]) == pytest.approx(ticks[1], abs=0.1)


def test_classes_are_of_the_style_sheet():
    chart = line_chart("loss", [Line(str(k), [(0, k), (1, k + 1)], colour=k) for k in range(8)])
    assert set(re.findall(r'class="c(\d)"', chart)) == set("012345")
    assert chart.count("stroke-dasharray") == 2  # the two that repeat a colour


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.25, "0.25"),
        (1.5e-4, "1.5e-4"),
        (2e-3, "2e-3"),
        (1250, "1250"),
        (12000, "12k"),
        (2.5e6, "2.5M"),
        (-3, "-3"),
    ],
)
def test_short(value, text):
    assert short(value) == text
