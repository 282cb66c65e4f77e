"""The two files: what they show is what the records say, and they need nothing else."""

from __future__ import annotations

import base64
import re
import statistics
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mimeval.transfer.report import write_report
from tests.transfer.report.folders import picture, record, results, scalars

FIGURES = re.compile(r"[+−]?\d+\.\d|not run|n = \d")
VOID = {"meta", "img", "input", "br"}
NOTE = "This run of 90 s is too short to help: <its> loss & plateau."


class Page(HTMLParser):
    """Checks that tags nest, and keeps elements, attributes and the text of every table."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.tables: list[list[list[str]]] = []
        self.words: list[str] = []
        self.data: list[float] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "data":
            self.data.append(float(dict(attrs)["value"]))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] = f"{self.tables[-1][-1][-1]} {data}".strip()

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


LINEAR = {"random": (24.0, 25.0, 24.4), "emae_live": (20.1, 21.3, 20.6), "emae_reference": (63.0, 64.2, 63.9)}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "quickstart"
    notes = {"emae_live": NOTE}
    records = [
        record("linear", init, value, seed, note=notes.get(init, ""))
        for init, values in LINEAR.items()
        for seed, value in enumerate(values)
    ]
    records += [
        record("knn", init, v, note=notes.get(init, "")) for init, v in zip(LINEAR, (16.4, 14.2, 41.7), strict=True)
    ]
    records += [record("detection", "random", 6.2), record("detection", "emae_reference", 18.4)]
    results(folder, records)
    scalars(
        folder / "pretrain",
        300,
        lambda step: {"loss_reconstruction": 1 / step, "loss_consistency": 0.5 / step, "lr": 1e-3, "grad_norm": 2.0},
    )
    (folder / "pretrain" / "emae_demo.py").write_text(
        "model = dict(targets=[dict(type='PixelTarget', norm_pix=True)])\n"
    )
    for epoch in (1, 2):
        picture(folder / "pretrain" / "reconstructions" / f"epoch_{epoch:06d}.png", (epoch, 0, 0))
    for init in LINEAR:
        scalars(folder / init / "linear", 20, lambda step: {"loss": 2.0 / step})
    picture(folder / "emae_reference" / "detection" / "predictions" / "00.png", (9, 9, 9))
    return folder


@pytest.fixture
def page(run: Path) -> Page:
    return Page(write_report(run).html)


def test_the_figures_shown_are_the_records(page):
    table = page.tables[0]
    assert [row[0] for row in table[1:]] == ["random", "emae_live 1", "emae_reference"]  # 1: the mark of its note
    for row, values in zip(table[1:], LINEAR.values(), strict=True):
        mean, spread = statistics.fmean(values), statistics.stdev(values)
        assert row[2].startswith(f"{mean:.1f} ± {spread:.1f}") and row[2].endswith("n = 3")
        assert any(value == pytest.approx(mean, abs=1e-12) for value in page.data)
    difference = statistics.fmean(LINEAR["emae_live"]) - statistics.fmean(LINEAR["random"])
    assert f"−{abs(difference):.1f}" in table[2][2]
    assert [row[4] for row in table[1:]] == ["6.2", "not run", "18.4 +12.2"]
    assert [row[6] for row in table[1:]] == ["not run"] * 3


def test_other_records_give_other_figures(tmp_path):
    for value in (12.3, 45.6):
        folder = results(tmp_path / str(value), [record("knn", value=value)])
        shown = Page(write_report(folder).html)
        assert shown.data == [value]
        assert shown.tables[0][1][1] == str(value)


def test_the_best_of_a_column_is_marked(page):
    best = [attributes["data-label"] for tag, attributes in page.elements if "best" in (attributes.get("class") or "")]
    assert best == ["k-NN", "Linear probe", "Detection box AP", "Detection mask AP"]


def test_notes_stand_under_the_table_and_are_linked(page):
    assert NOTE in page.text
    links = {a["href"] for tag, a in page.elements if tag == "a"}
    targets = {f"#{a['id']}" for _, a in page.elements if "id" in a}
    assert "#note-1" in links and links <= targets


def test_nothing_outside_the_file_is_needed(page, run):
    text = (run / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|url\(|@import", text)
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "iframe", "object", "base")
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))


def test_pictures_are_embedded_as_they_are(page, run):
    shown = {base64.b64decode(a["src"].partition(",")[2]) for tag, a in page.elements if tag == "img"}
    assert shown == {path.read_bytes() for path in run.rglob("*.png")}
    assert all(a["alt"] for tag, a in page.elements if tag == "img")


def test_captions_say_that_true_mean_and_contrast_are_used(run):
    assert "with its true mean and contrast" in Page(write_report(run).html).text
    (run / "pretrain" / "emae_demo.py").write_text("model = dict(targets=[dict(type='PixelTarget', norm_pix=False)])\n")
    text = Page(write_report(run).html).text
    assert "exactly as predicted" in text and "with its true mean and contrast" not in text


def test_curves_are_drawn_and_say_their_ends(page):
    labels = [a["aria-label"] for tag, a in page.elements if tag == "svg"]
    assert any(label.startswith("Reconstruction loss: 1 at step 1, 3.33e-3 at step 300") for label in labels)
    for title in ("Consistency loss", "Learning rate", "Gradient norm", "Linear probe: training loss"):
        assert any(label.startswith(title) for label in labels)
    assert not any("Images per second" in label for label in labels)  # was not logged


def test_provenance_is_shown(page):
    for text in ("linear_mae_demo v1", "tokens: cls", "norm: fc_norm", "0123456789abcdef", "torch 2.11.0", "Test CPU"):
        assert text in page.text
    measurements = next(table for table in page.tables if "GPU-hours" in table[0])
    row = next(row for row in measurements if row[:2] == ["random", "Linear probe"])
    assert row[2:] == ["0, 1, 2", "24.00, 25.00, 24.40", "01234567", "3 min 45 s", "0", "512 MiB", "30,000", "A"]


def test_gpu_hours_count_every_gpu(tmp_path):
    hardware = {"cpu": "x", "gpu": "H200", "gpus": 4}
    shown = Page(write_report(results(tmp_path, [record(hardware=hardware, wall_s=1800.0)])).html)
    measurements = next(table for table in shown.tables if "GPU-hours" in table[0])
    assert measurements[1][6] == "2.00"
    assert "4 × H200" in shown.text


def test_what_may_be_concluded(page, tmp_path):
    assert "test of the pipe, not a benchmark" in page.text
    assert "One seed was run for k-NN" in page.text
    real = results(tmp_path / "real", [record("knn", "mae", protocol="knn_dino")])
    text = Page(write_report(real).html).text
    assert "not a benchmark" not in text and "There is no random row" in text


def test_sentences_about_the_rows_follow_from_the_table(page):
    assert "emae_live is below random by more than the seeds' spread in Linear probe (−3.8)" in page.text
    assert "emae_reference is above random by more than the seeds' spread in Linear probe (+39.2)" in page.text


def test_with_a_single_row_there_is_nothing_to_compare(tmp_path):
    shown = Page(write_report(results(tmp_path, [record()])).html)
    assert "How the rows compare" not in shown.text
    assert [a["id"] for tag, a in shown.elements if tag == "section"][:2] == ["results", "what-may-be-concluded"]


def test_differing_settings_are_said(tmp_path):
    records = [record("linear", config_hash="a" * 16), record("linear", "mae", config_hash="b" * 16), record("knn")]
    text = Page(write_report(results(tmp_path, records)).html).text
    assert "differ between the rows of Linear probe" in text and "differ between the rows of k-NN" not in text


def test_everything_from_outside_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    entry = record("detection", init="<script>", note=evil, protocol='"><b>', selection=evil, features={evil: evil})
    folder = results(tmp_path / "run", [entry, record("<i>", artifacts=evil)])
    scalars(folder / "pretrain" / "<i>", 3, lambda step: {"lr": 1.0})
    picture(folder / "<script>" / "detection" / "predictions" / "<i>.png")
    written = write_report(folder)
    page = Page(written.html)
    assert not {tag for tag, _ in page.elements} & {"script", "b", "i"}
    assert evil in page.text and page.tables[0][2][0] == "<script> 1"
    text = written.markdown.read_text(encoding="utf-8")
    assert "<script" not in text and "<b>" not in text and "&lt;script&gt;" in text


def test_markdown_and_page_show_the_same_table(page, run):
    text = (run / "report.md").read_text(encoding="utf-8")
    lines = text[text.index("## Results") :].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[: lines.index("")]]
    for plain, shown in zip(rows[3:], page.tables[0][1:], strict=True):
        assert plain[0].split()[0] == shown[0].split()[0]
        for a, b in zip(plain[1:], shown[1:], strict=True):
            assert FIGURES.findall(a) == FIGURES.findall(b) != []
    assert NOTE.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in text
    for sentence in (
        "test of the pipe, not a benchmark",
        "One seed was run for k-NN",
        "linear_mae_demo v1",
        "3 min 45 s",
    ):
        assert sentence in text and sentence in page.text


def test_markdown_escapes_the_table(tmp_path):
    written = write_report(results(tmp_path, [record(init="a|b\nc")]))
    row = next(line for line in written.markdown.read_text().splitlines() if line.startswith("| a"))
    assert row.startswith("| a\\|b c ")


def test_the_same_results_give_the_same_bytes(run, tmp_path):
    first = [path.read_bytes() for path in (write_report(run).html, write_report(run).markdown)]
    again = write_report(run, tmp_path / "elsewhere")
    assert [again.html.read_bytes(), again.markdown.read_bytes()] == first


def test_colours_can_be_read_in_both_modes(run):
    style = re.search(r"<style>(.*?)</style>", write_report(run).html.read_text(), re.S)[1]
    colours = dict(re.findall(r"--([\w]+): light-dark\((#\w{6}, #\w{6})\)", style))
    for mode in (0, 1):
        page = colours["page"].split(", ")[mode]
        for name in ("ink", "soft", "accent", "up", "down"):
            assert contrast(colours[name].split(", ")[mode], page) >= 4.5, (name, mode)
        for name in ("s0", "s1", "s2", "s3", "s4", "s5"):
            assert contrast(colours[name].split(", ")[mode], page) >= 3, (name, mode)  # WCAG's bound for graphics
        assert contrast(colours["ink"].split(", ")[mode], colours["mark"].split(", ")[mode]) >= 4.5


def contrast(a: str, b: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)
