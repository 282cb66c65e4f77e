"""`mimeval report`: the page and the table of a transfer run."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "report"
HELP = "write report.html and report.md of a transfer run"
EXAMPLE = "mimeval report work_dirs/quickstart"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="--out folder of a `mimeval transfer` run")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write to (default: the run's own)")


def run(args: argparse.Namespace) -> int:
    from mimeval.transfer.report import markdown, write_report

    written = write_report(args.folder, args.out)
    print(markdown.printed(written.table))
    print(f"\n{written.html}\n{written.markdown}")
    return 0
