"""`mimeval inspect`: what a checkpoint file is, without running what it holds."""

from __future__ import annotations

import argparse

from mimeval.cli.main import printable

NAME = "inspect"
HELP = "say what a checkpoint file is and what would be loaded of it, without running what it holds"
EXAMPLE = "mimeval inspect mae_pretrain_vit_large.pth"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        help="a .pth, .pkl, .safetensors or index.json of shards, or a run's folder (its newest)",
    )
    parser.add_argument("--json", action="store_true", help="print everything as one JSON line, with every key")
    parser.add_argument(
        "--deep", action="store_true", help="read the whole file: every value, every checksum, and its SHA-256"
    )
    parser.add_argument(
        "--switch", nargs="+", action="extend", default=[], metavar="NAME=VALUE",
        help="a choice, as `mimeval transfer` takes it: container=student, container=model_ema",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    import json
    import shutil
    from pathlib import Path

    from mimeval.checkpoints.inspect import inspect
    from mimeval.checkpoints.screen import render

    file = args.file
    if Path(file).expanduser().is_dir():
        from mimeval.engine.outputs import checkpoint_of  # imports far more than a look at a file needs

        file = checkpoint_of(file)
    found = inspect(file, args.deep, args.switch)
    if args.json:
        print(json.dumps(found.as_dict(), default=str))
    else:
        print(printable(render(found, shutil.get_terminal_size().columns)))
    return 0
