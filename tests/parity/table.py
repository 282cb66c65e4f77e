"""The parity table of docs/methods.md, from what the tests in this folder measure: python -m tests.parity.table [--print]."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import torch

from mimeval.engine import provenance
from tests.documents import put_between
from tests.parity import record
from tests.parity.record import COMPARISONS, Comparison

FOLDER = Path(__file__).parent
DOCUMENT = FOLDER.parents[1] / "docs" / "methods.md"
BEGIN, END = "<!-- parity table: python -m tests.parity.table -->", "<!-- end of the parity table -->"
COLUMNS = ("method", "quantity", "largest error", "tolerance", "error is", "dtype", "test")


class Outcomes:
    """A plugin of pytest: what did not pass."""

    def __init__(self) -> None:
        self.not_passed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note failures and skips."""
        if report.outcome != "passed":
            self.not_passed.append(f"{report.nodeid} {report.outcome}")


def recording_files() -> list[Path]:
    """The test files of this folder that compare through record.py."""
    files = FOLDER.glob("test_*.py")
    return sorted(
        file for file in files if "tests.parity.record import" in file.read_text() and file.stem != "test_table"
    )


def measured() -> list[Comparison]:
    """All comparisons of these files. Ends the program if a test does not pass, as with a golden file that is not there."""
    outcomes = Outcomes()
    record.COMPARISONS.clear()
    pytest.main(["-q", "-p", "no:cacheprovider", *map(str, recording_files())], plugins=[outcomes])
    if outcomes.not_passed:
        sys.exit("the table was not written, since these tests did not pass:\n" + "\n".join(outcomes.not_passed))
    return list(COMPARISONS)


def table(comparisons: list[Comparison]) -> str:
    """Markdown: a row for each quantity of a method under a tolerance, in the order of the tests."""
    groups: dict[tuple, list[Comparison]] = defaultdict(list)
    for comparison in comparisons:
        groups[comparison.method, comparison.quantity, comparison.tolerance, comparison.of].append(comparison)
    rows = []
    # Methods together, in the order of their first test.
    methods = list(dict.fromkeys(method for method, *_ in groups))
    for (method, quantity, tolerance, of), group in sorted(groups.items(), key=lambda item: methods.index(item[0][0])):
        error = max(comparison.error for comparison in group)
        dtypes = sorted({comparison.dtype for comparison in group})
        tests = dict.fromkeys(Path(comparison.test).name for comparison in group)
        exact = tolerance == 0
        rows.append(
            (
                method,
                quantity,
                "equal" if exact else f"{error:.1e}" if error else "0",
                "equal" if exact else f"{tolerance:g}",
                "" if exact else of,
                ", ".join(dtypes),
                ", ".join(f"`{test}`" for test in tests),
            )
        )
    lines = [COLUMNS, ("---",) * len(COLUMNS), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Measure, and write the table between its marks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print", action="store_true", help="leave the document as it is")
    args = parser.parse_args()
    comparisons = measured()
    machine = provenance.hardware()
    torch_version = torch.__version__.split("+")[0]
    made = f"{len(comparisons):,} comparisons, torch {torch_version}, {machine['cpu']}, {machine['threads']} thread(s)."
    text = f"{table(comparisons)}\n\n{made}"
    if args.print:
        print(text)
    else:
        put_between(DOCUMENT, BEGIN, END, text)


if __name__ == "__main__":
    main()
