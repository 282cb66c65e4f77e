"""The helper that records comparisons, and the table in docs/methods.md: its rows name tests that are there."""

import ast
import re

import pytest
import torch

from tests.parity import record, table
from tests.parity.record import ABSOLUTE, EACH, LARGEST, Comparison, close, same


@pytest.fixture(autouse=True)
def comparisons(monkeypatch):
    """Those of this file are none of the table."""
    noted = []
    monkeypatch.setattr(record, "COMPARISONS", noted)
    return noted


@pytest.mark.parametrize(("of", "error"), [(ABSOLUTE, 0.5), (LARGEST, 0.05), (EACH, 0.25)])
def test_what_is_within_the_tolerance_is_noted(of, error, comparisons):
    ours, theirs = torch.tensor([10.0, 2.5, 0.0]), torch.tensor([10.0, 2.0, 0.0])
    close("M", "q", ours, theirs, 0.5, of)
    expected = Comparison(
        "M",
        "q",
        pytest.approx(error),
        0.5,
        of,
        "float32",
        "tests/parity/test_table.py::test_what_is_within_the_tolerance_is_noted",
    )
    assert comparisons == [expected]
    with pytest.raises(AssertionError, match=f"M: q is off by .* {of}, allowed are"):
        close("M", "q", ours, theirs, error * 0.99, of)
    assert comparisons == [expected]


def test_numbers_are_float64(comparisons):
    close("M", "q", [1.0, 2.0], [1.0, 2.0 + 1e-13], 1e-12, EACH)
    assert comparisons[0].dtype == "float64" and 0 < comparisons[0].error < 1e-12


@pytest.mark.parametrize(
    ("ours", "match"),
    [
        (torch.zeros(2), r"shape \[2\], expected \[3\]"),
        (torch.zeros(3, dtype=torch.float64), "is torch.float64, expected torch.float32"),
        (torch.tensor([0.0, 0.0, float("nan")]), "is not finite"),
        (torch.tensor([0.0, 0.0, 1e-4]), "weight is off by 1.0e-04"),
    ],
)
def test_what_differs_fails(ours, match):
    with pytest.raises(AssertionError, match=match):
        close("M", "q", ours, torch.zeros(3), 1e-5, name="weight")


def test_a_share_of_nothing(comparisons):
    close("M", "q", torch.zeros(3), torch.zeros(3), 1e-5, EACH)
    assert comparisons[0].error == 0
    with pytest.raises(AssertionError, match="off by inf"):
        close("M", "q", torch.ones(3), torch.zeros(3), 1e-5, LARGEST)


def test_equality_of_every_bit(comparisons):
    same("M", "q", torch.arange(3), torch.arange(3))
    assert (comparisons[0].tolerance, comparisons[0].dtype) == (0, "int64")
    with pytest.raises(AssertionError, match="differs in 2 entries"):
        same("M", "q", torch.arange(3), torch.tensor([0, 2, 1]))


def test_a_table_has_a_row_for_each_quantity():
    first = Comparison("A", "q", 1e-7, 1e-5, LARGEST, "float32", "tests/parity/test_x.py::test_a")
    again = Comparison("A", "q", 3e-7, 1e-5, LARGEST, "float32", "tests/parity/test_x.py::test_b")
    exact = Comparison("B", "mask", 0.0, 0.0, ABSOLUTE, "int64", "tests/parity/test_x.py::test_a")
    other = Comparison("A", "r", 0.0, 0.15, ABSOLUTE, "float32", "tests/parity/test_x.py::test_a")
    assert table.table([first, exact, again, other]).splitlines()[2:] == [
        "| A | q | 3.0e-07 | 1e-05 | of the largest entry | float32 | `test_x.py::test_a`, `test_x.py::test_b` |",
        "| A | r | 0 | 0.15 | absolute | float32 | `test_x.py::test_a` |",
        "| B | mask | equal | equal |  | int64 | `test_x.py::test_a` |",
    ]


def rows():
    text = table.DOCUMENT.read_text(encoding="utf-8")
    assert text.count(table.BEGIN) == text.count(table.END) == 1
    written = text.split(table.BEGIN)[1].split(table.END)[0]
    found = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in written.splitlines() if line.startswith("|")
    ]
    assert found[0] == list(table.COLUMNS)
    return found[2:]


def functions(file: str) -> set[str]:
    return {
        node.name for node in ast.parse((table.FOLDER / file).read_text()).body if isinstance(node, ast.FunctionDef)
    }


def test_the_tables_rows_name_tests_that_are_there():
    assert len(rows()) > 50
    for row in rows():
        for file, function in re.findall(r"`(\w+\.py)::(\w+)`", row[-1]):
            assert function in functions(file), row
        assert "::" in row[-1]


def test_every_file_that_records_is_in_the_table():
    named = {file for row in rows() for file in re.findall(r"`(\w+\.py)::", row[-1])}
    assert named == {file.name for file in table.recording_files()}


def test_errors_are_within_their_tolerances():
    for row in rows():
        assert row[2:4] == ["equal", "equal"] or float(row[2]) <= float(row[3]), row
