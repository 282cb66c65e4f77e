"""`mimeval data`: make and look at data."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimeval import signals
from mimeval.cli.main import fresh_line
from mimeval.cli.run_arguments import positive, seed

if TYPE_CHECKING:
    from mimeval.datasets.check import Report

NAME = "data"
HELP = "make the demo set; check a data folder"
EXAMPLE = "mimeval data demo data/demo\n  mimeval data check data/demo --layout coco"
MOST_SHOWN = 50  # of each kind on a terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="data_verb", required=True, metavar="WHAT")
    demo = verbs.add_parser(
        "demo",
        help="generate the demo set: digits on photographs, in the ImageFolder, COCO and ADE20K layouts",
        epilog="example: mimeval data demo data/demo --train 6000 --val 1000",
    )
    demo.add_argument(
        "out", type=Path, metavar="OUT", help="folder to make; a complete one with equal settings is kept"
    )
    demo.add_argument("--train", type=positive, default=6000, help="training images (default: %(default)s)")
    demo.add_argument("--val", type=positive, default=1000, help="validation images (default: %(default)s)")
    demo.add_argument(
        "--size", type=int, default=32, help="side of the images in pixels, 32 to 96 (default: %(default)s)"
    )
    demo.add_argument(
        "--background", type=float, default=0.3, help="brightness of the photographs, 0 to 1 (default: %(default)s)"
    )
    demo.add_argument("--seed", type=seed, default=0, help="seed of everything random (default: %(default)s)")
    demo.set_defaults(run_data=_demo)
    check = verbs.add_parser(
        "check",
        help="decode every image and hold every annotation against it; name what is wrong",
        description="Decode every image of a data folder, hold every annotation against it, and name what is wrong. "
        "Exit code 1 if there is a fault, 0 if there are remarks at most.",
        epilog="example: mimeval data check /datasets --layout imagenet --jobs 16 --out imagenet_faults.txt",
    )
    check.add_argument("path", metavar="PATH", help="the layout's folder, a root that contains it, or a data.yaml")
    check.add_argument("--layout", required=True, choices=("imagenet", "coco", "ade20k"), help="what PATH should be")
    check.add_argument("--jobs", type=positive, metavar="N", help="processes (default: one for each usable core)")
    check.add_argument("--json", action="store_true", help="print everything as one JSON line")
    check.add_argument("--out", type=Path, metavar="FILE", help="write the whole list to FILE, too")
    check.add_argument(
        "--accept", type=_kinds, default=[], metavar="KIND,KIND", help="faults that are known and count as remarks"
    )
    check.add_argument(
        "--classes", type=positive, metavar="N",
        help="ade20k: number of classes besides 0 (default: the lines of its classes.txt, or 150)",
    )  # fmt: skip
    check.set_defaults(run_data=_check)


def _kinds(text: str) -> list[str]:
    return [kind.strip() for kind in text.split(",")]


def run(args: argparse.Namespace) -> int:
    return args.run_data(args)


def _demo(args: argparse.Namespace) -> int:
    from mimeval.datasets.demo import DemoSpec, generate

    spec = DemoSpec(args.train, args.val, args.size, args.background, args.seed)
    out = generate(args.out, spec)
    print(f"{out}: {spec.train} training and {spec.val} validation images in imagenet/, coco/ and ade20k/")
    return 0


def _check(args: argparse.Namespace) -> int:
    import json
    import time

    from mimeval.datasets.check import check
    from mimeval.engine.environment import usable_cores
    from mimeval.engine.hooks.progress import clock
    from mimeval.engine.live import LiveLine
    from mimeval.errors import UserError
    from mimeval.files import write_whole

    # Before an hour of reading, not after it.
    if args.out is not None and (args.out.is_dir() or not os.access(args.out.absolute().parent, os.W_OK)):
        found = "a folder" if args.out.is_dir() else f"no folder {args.out.absolute().parent} that can be written"
        raise UserError(f"--out {args.out}: expected a file to write, found {found}; choose another")
    line = LiveLine()
    start = time.monotonic()
    done = 0

    def progress(images: int, total: int, findings: int) -> None:
        nonlocal done
        done = images
        rate = images / max(time.monotonic() - start, 1e-9)
        left = clock(max(total - images, 0) / rate)
        line.update(f"image {images:,}/{total:,}  {findings:,} findings  {rate:,.0f} images/s  eta {left}")

    try:
        report = check(args.path, args.layout, args.jobs or usable_cores(), progress, args.classes, args.accept)
    except KeyboardInterrupt:
        print(f"{fresh_line()}mimeval: interrupted after {done:,} images; nothing was written", file=sys.stderr)
        return 130
    except signals.Stopped as stop:
        raise signals.Stopped(stop.signum, f"{done:,} images were checked, nothing was written") from None
    line.clear()
    if args.out is not None:
        text = "\n".join(_lines(report)) + "\n"
        try:
            write_whole(args.out, lambda file: file.write_text(text, encoding="utf-8", errors="surrogateescape"))
        except OSError as error:
            raise UserError(
                f"--out {args.out}: expected a file that can be written, found: {error.strerror or error}; choose another"
            ) from error
    if args.json:
        print(json.dumps(report.as_dict()))
    else:
        print(
            "\n".join(
                _printable(text) for text in _lines(report, MOST_SHOWN if sys.stdout.isatty() else None, args.out)
            )
        )
    return 1 if report.faults else 0


def _lines(report: Report, most: int | None = None, whole: Any = None) -> list[str]:
    """Counts by kind, then every finding, or `most` of each kind."""
    from mimeval.datasets.check import KINDS

    images = f"{report.images:,} images"
    rate = f"{report.seconds:.1f} s, {report.images / max(report.seconds, 1e-9):,.0f} images/s"
    remarks = len(report.findings) - report.faults
    lines = [f"{report.path} ({report.layout}): {images} in {rate}: {report.faults:,} faults, {remarks:,} remarks"]
    for kind, count in report.counts.items():
        severity = "fault" if report.is_fault(kind) else "remark"
        lines.append(f"  {count:>8,}  {severity:6}  {kind:13}  {KINDS[kind]}")
    for kind, count in report.counts.items():
        lines += ["", f"{kind}:"]
        shown = [finding for finding in report.findings if finding.kind == kind][:most]
        lines += [f"  {finding.file}: {finding.detail}" for finding in shown]
        if count > len(shown):
            lines.append(
                f"  and {count - len(shown):,} more" + ("; --out FILE lists all" if whole is None else f" in {whole}")
            )
    return lines


def _printable(text: str) -> str:
    """File names may be bytes that no encoding of a terminal has."""
    return text.encode("utf-8", "backslashreplace").decode()
