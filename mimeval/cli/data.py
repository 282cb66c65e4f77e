"""`mimeval data`: make and look at data."""

from __future__ import annotations

import argparse
from pathlib import Path

from mimeval.cli.run_arguments import positive, seed

NAME = "data"
HELP = "make the demo set"
EXAMPLE = "mimeval data demo data/demo"


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


def run(args: argparse.Namespace) -> int:
    from mimeval.datasets.demo import DemoSpec, generate

    spec = DemoSpec(args.train, args.val, args.size, args.background, args.seed)
    out = generate(args.out, spec)
    print(f"{out}: {spec.train} training and {spec.val} validation images in imagenet/, coco/ and ade20k/")
    return 0
