"""`mimeval zoo`: public checkpoints, what is known of them, and how they get here."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mimeval import signals
from mimeval.cli.main import fresh_line, printable
from mimeval.errors import UserError

if TYPE_CHECKING:
    from mimeval.checkpoints.zoo import Entry

NAME = "zoo"
HELP = "list public checkpoints with their published figures; download and verify them"
EXAMPLE = "mimeval zoo get mae_pretrain_vit_base && mimeval inspect checkpoints/mae_pretrain_vit_base.pth"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="zoo_verb", required=True, metavar="WHAT")
    listing = verbs.add_parser(
        "list", help="all of them, one line each", epilog="example: mimeval zoo list --family localmim"
    )
    listing.add_argument("--family", metavar="NAME", help="of this family only")
    listing.set_defaults(run_zoo=_list)
    show = verbs.add_parser(
        "show", help="one of them: address, checksum, published figures and their sources",
        epilog="example: mimeval zoo show mae_pretrain_vit_large",
    )  # fmt: skip
    show.add_argument("name", metavar="NAME")
    show.set_defaults(run_zoo=_show)
    verify = verbs.add_parser(
        "verify",
        help="hold a file against its entry: checksum, structure and family",
        epilog="example: mimeval zoo verify mae_pretrain_vit_base checkpoints/mae_pretrain_vit_base.pth",
    )
    verify.add_argument("name", metavar="NAME")
    verify.add_argument("file", metavar="FILE", type=Path)
    verify.set_defaults(run_zoo=_verify)
    get = verbs.add_parser(
        "get",
        help="download one; an interrupted download goes on, and the file gets its name when it is whole and verified",
        epilog="example: mimeval zoo get localmim_vit_base_1600ep --out checkpoints",
    )
    get.add_argument("name", metavar="NAME")
    get.add_argument(
        "--out", type=Path, default=Path("checkpoints"), metavar="DIR", help="where to (default: %(default)s)"
    )
    get.add_argument("--force", action="store_true", help="download it although it is there")
    get.set_defaults(run_zoo=_get)
    for verb in (listing, show, verify, get):
        verb.add_argument("--zoo", metavar="FILE", help="another list than the shipped one, in its form")
    for verb in (listing, show):
        verb.add_argument("--json", action="store_true", help="print one JSON line")


def run(args: argparse.Namespace) -> int:
    from mimeval.checkpoints.zoo import find, read_zoo

    zoo = read_zoo(args.zoo)
    if args.zoo_verb != "list":
        args.entry = find(zoo, args.name)
    return args.run_zoo(args, zoo)


def _list(args: argparse.Namespace, zoo: dict[str, Entry]) -> int:
    entries = [entry for entry in zoo.values() if args.family in (None, entry.family)]
    if not entries:
        families = ", ".join(sorted({entry.family for entry in zoo.values()}))
        raise UserError(f"--family {args.family}: the zoo has none of this family; it has {families}.")
    if args.json:
        print(json.dumps([entry.as_dict() for entry in entries]))
        return 0
    rows = [(entry.name, entry.family, entry.architecture, _headline(entry)) for entry in entries]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print(printable("  ".join([*cells, row[3]]).rstrip()))
    return 0


def _headline(entry: Entry) -> str:
    if not entry.figures:
        return ""
    figure = entry.figures[0]
    return f"{figure['value']} {figure['unit']}, {figure['task']}"


def _show(args: argparse.Namespace, zoo: dict[str, Entry]) -> int:
    entry: Entry = args.entry
    if args.json:
        print(json.dumps(entry.as_dict()))
        return 0
    from mimeval.checkpoints.zoo import shown

    rows = [
        ("family", f"{entry.family}, {entry.architecture}"),
        ("address", entry.address or f"{entry.page} (a page: download it by hand)"),
        ("checksum", ", ".join(shown(*stated) for stated in entry.checksums().items()) or "none is published"),
        ("source", entry.source),
        *(("published", f"{f['value']} {f['unit']}, {f['task']} ({f['source']})") for f in entry.figures),
        *([("note", entry.note)] if entry.note else []),
        ("next", f"mimeval zoo get {entry.name}" if entry.address else f"mimeval inspect {entry.file}"),
    ]
    print(printable("\n".join([entry.name, *(f"  {label:<10}{text}" for label, text in rows)])))
    return 0


def _verify(args: argparse.Namespace, zoo: dict[str, Entry]) -> int:
    print(printable(f"{args.file}: {check(args.entry, args.file.expanduser())}"))
    return 0


def check(entry: Entry, file: Path) -> str:
    """What was found out about a file that should be this entry. UserError if it is another, or damaged."""
    from mimeval.checkpoints.zoo import check_sums

    sums = check_sums(entry, file)
    from mimeval.checkpoints.inspect import inspect
    from mimeval.checkpoints.state import check_whole

    check_whole(file)
    found = inspect(file)
    if found.family != entry.family:
        raise UserError(
            f"{file} is not {entry.name}: expected family {entry.family}, found {found.family or 'none that is known'}; look at it "
            "with `mimeval inspect`."
        )
    return f"{sums}; family {found.family}, {found.model or 'no backbone of this suite'}"


def _get(args: argparse.Namespace, zoo: dict[str, Entry]) -> int:
    from mimeval.checkpoints.download import download
    from mimeval.checkpoints.zoo import check_sums

    entry: Entry = args.entry
    target = args.out.expanduser() / entry.file
    if entry.address is None:
        raise UserError(
            f"{entry.name} is offered on a page only: download it by hand from {entry.page} and hold it against the list with "
            f"`mimeval zoo verify {entry.name} FILE`."
        )
    if target.exists() and not args.force:
        print(printable(f"{target} is there already: {check_sums(entry, target)}"))
        return 0
    from mimeval.checkpoints.units import size
    from mimeval.engine.live import LiveLine

    line = LiveLine()
    there = 0

    def progress(done: int, total: int | None, rate: float) -> None:
        nonlocal there
        there = done
        of = f"/{size(total)} ({done * 100 // max(total, 1)} %)" if total is not None else ""
        left = f"  {(total - done) / max(rate, 1e-9):,.0f} s left" if total is not None else ""
        line.update(f"{entry.file}  {size(done)}{of}  {size(rate)}/s{left}")

    said = ""

    def whole(file: Path) -> None:
        nonlocal said
        said = check_sums(entry, file)

    try:
        download(entry.address, target, whole, progress)
    except KeyboardInterrupt:
        print(
            f"{fresh_line()}mimeval: interrupted after {size(there)}; the same command goes on from there",
            file=sys.stderr,
        )
        return 130
    except signals.Stopped as stop:
        raise signals.Stopped(stop.signum, f"{size(there)} are kept, the same command goes on from there") from None
    finally:
        line.clear()
    print(printable(f"{target}: {said}\nnext: mimeval inspect {target}"))
    return 0
