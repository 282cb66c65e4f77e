"""`mimeval test`: the metrics of a trained model."""

from __future__ import annotations

import argparse
import json

from mimeval.cli.run_arguments import add_config_arguments

NAME = "test"
HELP = "evaluate a trained model on its config's test (or validation) set"
EXAMPLE = "mimeval test configs/demo/finetune_demo.py work_dirs/finetune/epoch_10.pth --data data/demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIG and CKPT."""
    add_config_arguments(parser)
    parser.add_argument(
        "checkpoint", metavar="CKPT", help="checkpoint of the whole model, as `mimeval train` writes it"
    )
    parser.add_argument("--json", action="store_true", help="print the metrics as one JSON line")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print one metric per line."""
    from mmengine.dist import is_main_process

    from mimeval.engine.config import load_config
    from mimeval.engine.environment import setup_environment
    from mimeval.engine.heartbeat import watched
    from mimeval.engine.launch import leave_distributed
    from mimeval.engine.runner import RUN_KEYS, as_test, build_runner, prepare
    from mimeval.quiet import without_prints

    setup_environment()
    cfg = load_config(args.config, args.cfg_options, args.data, RUN_KEYS)
    prepare(cfg, work_dir=args.work_dir, launcher=args.launcher, strict_data=args.strict_data)
    as_test(cfg, args.checkpoint)
    with watched():
        with without_prints():
            metrics = build_runner(cfg).test()
        is_first = is_main_process()
        leave_distributed()
    if is_first and args.json:
        print(json.dumps({name: value for name, value in metrics.items() if isinstance(value, int | float)}))
    elif is_first:
        for name, value in metrics.items():
            print(f"{name:32} {value:.4f}" if isinstance(value, int | float) else f"{name:32} {value}")
    return 0
