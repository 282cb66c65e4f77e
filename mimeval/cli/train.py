"""`mimeval train`: run a config's training."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from mimeval.cli.run_arguments import add_config_arguments, seed

NAME = "train"
HELP = "train a config: pre-training or a downstream task"
EXAMPLE = "mimeval train configs/demo/emae_demo.py --data data/demo --work-dir work_dirs/emae --precision bf16"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIG, and how to run it."""
    add_config_arguments(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CKPT",
        help="continue from CKPT, or from the work dir's latest checkpoint",
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision: bf16 where the device has it, else fp16")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), help="compute in this precision")
    parser.add_argument("--auto-scale-lr", action="store_true", help="scale the config's absolute lr to the real batch")
    parser.add_argument("--seed", type=seed, help="seed of weights, samples, augmentations and masks")


def run(args: argparse.Namespace) -> int:
    """Train, then leave the process group."""
    from mimeval.engine.config import load_config
    from mimeval.engine.environment import setup_environment
    from mimeval.engine.heartbeat import watched
    from mimeval.engine.launch import leave_distributed
    from mimeval.engine.outputs import checkpoint_names
    from mimeval.engine.runner import RUN_KEYS, build_runner, prepare
    from mimeval.errors import UserError
    from mimeval.quiet import without_prints
    from mimeval.signals import Stopped

    setup_environment()
    cfg = load_config(args.config, args.cfg_options, args.data, RUN_KEYS)
    prepare(
        cfg,
        work_dir=args.work_dir,
        resume=args.resume,
        precision=args.precision,
        amp=args.amp,
        auto_scale_lr=args.auto_scale_lr,
        launcher=args.launcher,
        seed=args.seed,
        strict_data=args.strict_data,
    )
    if args.resume is None and (earlier := checkpoint_names(cfg.work_dir)):
        raise UserError(
            f"--work-dir {cfg.work_dir}: expected a folder without checkpoints, found {earlier[-1]}; "
            "add --resume to go on from it, or choose another folder"
        )
    with watched(), without_prints():
        try:
            build_runner(cfg).train()
        except Stopped as stop:
            if stop.words:
                leave_distributed()
                stop.words += f"; go on with: {again(args.command_line, args.launcher)}"
            raise
        leave_distributed()
    return 0


def again(arguments: Sequence[str], launcher: str) -> str:
    """The command that goes on with the run which `arguments` started."""
    if launcher != "none":
        return "the same command and --resume"
    kept = list(arguments)
    if "--resume" in kept:
        place = kept.index("--resume")
        # The checkpoint that it named, if it did, is not the newest any more.
        named = kept[place + 1 : place + 2]
        del kept[place : place + 1 + bool(named and not named[0].startswith("-"))]
    kept = [argument for argument in kept if not argument.startswith("--resume=")]
    program = ["mimeval"] if Path(sys.argv[0]).name == "mimeval" else [Path(sys.executable).name, "-m", "mimeval"]
    return shlex.join([*program, *kept, "--resume"])
