"""`mimeval tokenize`: fit the centres of a tokenizer."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from mimeval.cli.main import fresh_line
from mimeval.cli.run_arguments import add_data_arguments, seed
from mimeval.signals import Stopped

NAME = "tokenize"
HELP = "fit a tokenizer: centres of patches' pixels or features by K-means"
EXAMPLE = "mimeval tokenize fit configs/tokenizers/pixel.py --out checkpoints/tokens_pixel.safetensors --data DATA"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="tokenize_verb", required=True, metavar="WHAT")
    fit = verbs.add_parser(
        "fit",
        help="mini-batch K-means over the images of a config; centres and their provenance as safetensors",
        epilog=f"example: {EXAMPLE}",
    )
    fit.add_argument("config", metavar="CONFIG", help="config of a tokenizer, such as configs/tokenizers/pixel.py")
    fit.add_argument("--out", type=Path, required=True, metavar="FILE", help="the .safetensors file to write")
    add_data_arguments(fit, "the config's data_root")
    fit.add_argument("--seed", type=seed, help="seed of the centres' start and of the order of images")
    fit.add_argument("--force", action="store_true", help="overwrite FILE")
    fit.add_argument(
        "--cfg-options",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="override keys of the config: tokenizer.num_centres=100",
    )


def run(args: argparse.Namespace) -> int:
    _check_out(args.out, args.force)
    from mimeval.engine.config import load_config
    from mimeval.pretrain.tokenizers.fit import FIT_KEYS, fit_tokenizer, summary

    cfg = load_config(args.config, args.cfg_options, args.data, FIT_KEYS)
    if args.seed is not None:
        cfg.randomness = dict(seed=args.seed)
    if args.strict_data:
        cfg.strict_data = True
    try:
        file = fit_tokenizer(cfg, args.out)
    except KeyboardInterrupt:
        print(f"{fresh_line()}mimeval: interrupted; nothing was written", file=sys.stderr)
        return 130
    except Stopped as stop:
        stop.words = "nothing was written"
        raise
    print(summary(file))
    return 0


def _check_out(out: Path, force: bool) -> None:
    """Before an hour of fitting, not after it."""
    from mimeval.errors import UserError

    if out.suffix != ".safetensors":
        raise UserError(f"--out {out}: expected a file that ends in .safetensors, found '{out.name}'; name it so")
    if out.exists() and (out.is_dir() or not force):
        kind = "a folder" if out.is_dir() else "a file, which --force overwrites"
        raise UserError(f"--out {out}: expected a name that is free, found {kind}; choose another")
    folder = next(folder for folder in out.absolute().parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"--out {out}: expected a folder that can be written, found {folder}; choose another")
