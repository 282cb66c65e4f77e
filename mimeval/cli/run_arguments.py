"""Arguments that verbs share which run a config; no verb itself."""

from __future__ import annotations

import argparse


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIG and what changes it."""
    parser.add_argument("config", metavar="CONFIG", help="config file, or the name of a shipped one (demo/mae_demo)")
    parser.add_argument("--work-dir", metavar="DIR", help="where logs and checkpoints go (work_dirs/<config>)")
    add_data_arguments(parser, "the config's data_root")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="override keys of the config: train_cfg.max_epochs=10; +KEY=VALUE adds a new one",
    )
    add_launcher_argument(parser)


def add_launcher_argument(parser: argparse.ArgumentParser) -> None:
    """How many processes come to run a verb."""
    parser.add_argument(
        "--launcher",
        choices=("none", "pytorch", "slurm"),
        default="none",
        help="what started this process as one of many: torchrun (tools/dist_*.sh) or srun (default: %(default)s)",
    )


def add_data_arguments(parser: argparse.ArgumentParser, default: str) -> None:
    """Where the data are, and what to do about files that are damaged."""
    parser.add_argument(
        "--data",
        metavar="ROOT",
        help=f"folder with imagenet/, coco/ and ade20k/, or a data.yaml that names theirs (default: {default})",
    )
    parser.add_argument(
        "--strict-data",
        action="store_true",
        help="stop at the first damaged image, instead of replacing it in training and showing black in evaluation",
    )


def seed(text: str) -> int:
    """argparse type: an integer that every generator takes as seed."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"expected an integer from 0 to {2**32 - 1}, found '{text}'")
    return int(text)


def positive(text: str) -> int:
    """argparse type: an integer from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer from 1 on, found '{text}'")
    return int(text)
