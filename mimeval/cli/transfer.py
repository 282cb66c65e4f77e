"""`mimeval transfer`: what checkpoints are worth on the tasks of a suite."""

from __future__ import annotations

import argparse
from pathlib import Path

from mimeval.cli.run_arguments import add_data_arguments, add_launcher_argument, positive, seed
from mimeval.errors import UserError
from mimeval.signals import Stopped

NAME = "transfer"
HELP = "run a suite's tasks for checkpoints and for random initialisation; append one record each to DIR/results.jsonl"
EXAMPLE = "mimeval transfer model.pth --suite configs/suites/demo.py --data data/demo --out work_dirs/model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Checkpoints, the suite, and where to."""
    parser.add_argument("checkpoints", nargs="*", metavar="CKPT", help="checkpoint files, one row of the table each")
    parser.add_argument("--suite", default="configs/suites/demo.py", help="which tasks (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="results.jsonl, curves and pictures go here"
    )
    add_data_arguments(parser, "the suite's")
    parser.add_argument("--resume", action="store_true", help="go on in DIR; what is finished there is not run again")
    parser.add_argument(
        "--jobs",
        type=positive,
        default=1,
        metavar="N",
        help="tasks at a time, which share the cores (default: %(default)s)",
    )
    add_launcher_argument(parser)
    parser.add_argument("--seed", type=seed, nargs="+", metavar="N", help="seeds to run (default: the suite's)")
    parser.add_argument("--tasks", type=_names, metavar="A,B", help="only these tasks of the suite")
    parser.add_argument(
        "--init-names", type=_names, metavar="A,B", help="names of the rows (default: the files' names)"
    )
    parser.add_argument("--no-random", action="store_true", help="leave out the row of random initialisation")
    parser.add_argument(
        "--note", action="append", default=[], metavar="ROW=TEXT", help="a remark that every figure of a row carries"
    )
    parser.add_argument(
        "--waive", nargs="+", action="extend", default=[], metavar="KIND:PATTERN",
        help="let a checkpoint load in part: missing:norm.*, unexpected:..., shape:...; the report says so",
    )  # fmt: skip
    parser.add_argument(
        "--allow-missing", nargs="+", action="extend", default=[], metavar="GLOB",
        help="--waive missing:GLOB: these tensors of the backbone keep their start",
    )  # fmt: skip
    parser.add_argument(
        "--allow-unexpected", nargs="+", action="extend", default=[], metavar="GLOB",
        help="--waive unexpected:GLOB: these tensors of the file are left out",
    )  # fmt: skip
    parser.add_argument(
        "--switch", nargs="+", action="extend", default=[], metavar="NAME=VALUE",
        help="a choice that the checkpoints' family offers: container=student, positions=bicubic, merging=as_stored",
    )  # fmt: skip
    parser.add_argument(
        "--trust-pickle", action="store_true", help="read checkpoints that can run code when they are read"
    )
    parser.add_argument(
        "--cfg-options", nargs="+", action="extend", default=[], metavar="TASK.KEY=VALUE",
        help="override keys of a task's config: finetune.train_cfg.max_epochs=1",
    )  # fmt: skip


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def run(args: argparse.Namespace) -> int:
    """Run what is missing and print the table."""
    if args.launcher != "none" and args.jobs > 1:
        raise UserError(
            f"--jobs {args.jobs} --launcher {args.launcher}: expected one of them, as every task of a launcher has all processes; "
            "leave one out"
        )
    from mimeval.engine.environment import filter_warnings

    filter_warnings()
    from mmengine.dist import is_main_process

    from mimeval.engine.heartbeat import watched
    from mimeval.engine.launch import init_distributed, leave_distributed
    from mimeval.engine.live import say
    from mimeval.transfer.plan import Request
    from mimeval.transfer.report import markdown
    from mimeval.transfer.report.table import build_table
    from mimeval.transfer.suite import transfer

    request = Request(
        checkpoints=args.checkpoints,
        suite=args.suite,
        out=args.out,
        data=args.data,
        strict_data=args.strict_data,
        resume=args.resume,
        jobs=args.jobs,
        seeds=args.seed,
        tasks=args.tasks,
        init_names=args.init_names,
        random=not args.no_random,
        notes=args.note,
        trust_pickle=args.trust_pickle,
        waive=[
            *args.waive,
            *(f"missing:{pattern}" for pattern in args.allow_missing),
            *(f"unexpected:{pattern}" for pattern in args.allow_unexpected),
        ],
        switches=args.switch,
        options=args.cfg_options,
    )
    init_distributed(args.launcher)
    is_first = is_main_process()
    try:
        with watched():
            records = transfer(request)
            leave_distributed()
    except KeyboardInterrupt:
        say(f"interrupted; finished tasks are kept in {args.out}: run the same command with --resume to go on")
        return 130
    except Stopped as stop:
        say(
            f"stopped by {stop.name}; finished tasks are kept in {args.out}, and trained ones as far as they came: run the same "
            "command with --resume to go on"
        )
        return stop.code
    if not is_first:
        return 0
    print(markdown.printed(build_table(records)))
    print(f"records: {args.out / 'results.jsonl'}; pictures and curves: mimeval report {args.out}")
    return 0
