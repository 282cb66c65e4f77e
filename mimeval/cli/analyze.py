"""`mimeval analyze`: look at what a method makes of images."""

from __future__ import annotations

import argparse
import sys

from mimeval.cli.main import fresh_line
from mimeval.cli.run_arguments import positive, seed

NAME = "analyze"
HELP = "score a tokenizer (TCAS)"
EXAMPLE = "mimeval analyze tcas checkpoints/tokens_pixel.safetensors DATA --images 20000"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="analyze_verb", required=True, metavar="WHAT")
    tcas = verbs.add_parser(
        "tcas",
        help="token-class alignment similarity of a tokenizer on labelled images, with a bootstrap interval",
        epilog=f"example: {EXAMPLE}",
    )
    tcas.add_argument("tokenizer", metavar="TOKENIZER", help="file that `mimeval tokenize fit` wrote")
    tcas.add_argument("data", metavar="DATA", help="folder with imagenet/, that folder, or a data.yaml")
    tcas.add_argument("--split", choices=("train", "val"), default="train", help="default: %(default)s")
    tcas.add_argument("--images", type=positive, metavar="N", help="as many, drawn by the seed (default: all)")
    tcas.add_argument(
        "--norm", choices=("l1", "frobenius"), default="l1", help="of the matrix of cosines (default: %(default)s)"
    )
    tcas.add_argument(
        "--bootstrap", type=int, default=200, metavar="R", help="replicates, 0 for no interval (default: %(default)s)"
    )
    tcas.add_argument("--seed", type=seed, default=0, help="of images and bootstrap (default: %(default)s)")
    tcas.add_argument("--backbone", metavar="CKPT", help="where the backbone of a feature tokenizer lies now")
    tcas.add_argument("--batch", type=positive, default=128, help="images at a time (default: %(default)s)")
    tcas.add_argument("--jobs", type=positive, metavar="N", help="processes that read (default: one per usable core)")
    tcas.add_argument("--json", action="store_true", help="print everything as one JSON line")


def run(args: argparse.Namespace) -> int:
    import json

    import torch

    from mimeval.analysis.tcas import labelled_images, measure, summary
    from mimeval.engine.environment import setup_environment, usable_cores
    from mimeval.engine.hooks.progress import clock
    from mimeval.engine.live import LiveLine
    from mimeval.errors import UserError
    from mimeval.pretrain.tokenizers import read_tokenizer, tokenizer_of

    setup_environment()
    if not 0 <= args.bootstrap != 1:
        raise UserError(f"--bootstrap {args.bootstrap}: expected 0 or at least 2 replicates; 200 are usual")
    file = read_tokenizer(args.tokenizer)
    tokenizer = tokenizer_of(file, args.backbone)
    tokenizer.to("cuda" if torch.cuda.is_available() else "cpu")
    jobs = args.jobs or usable_cores()
    batches = labelled_images(file, args.data, args.split, args.images, args.seed, args.batch, jobs if jobs > 1 else 0)
    line = LiveLine()

    def progress(done: int, total: int, rate: float) -> None:
        line.update(f"image {done:,}/{total:,}  {rate:,.0f} images/s  eta {clock((total - done) / rate)}")

    try:
        alignment = measure(tokenizer, file, batches, args.norm, args.bootstrap, args.seed, progress)
    except KeyboardInterrupt:
        print(f"{fresh_line()}mimeval: interrupted", file=sys.stderr)
        return 130
    line.clear()
    if args.json:
        print(
            json.dumps({"tokenizer": str(file.path), "sha256": file.sha256, "split": args.split} | alignment.as_dict())
        )
    else:
        print(summary(alignment, file.path))
    return 0
