"""`mimeval convert`: one checkpoint format into another, verified."""

from __future__ import annotations

import argparse

NAME = "convert"
HELP = "convert a checkpoint between formats, check the result and say what changed"
EXAMPLE = "mimeval convert mae_pretrain_vit_base.pth checkpoints/mae_vitb.safetensors --to mimeval"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="IN",
        help="the checkpoint to read: .pth or .safetensors of a known family, or a run's folder (its newest)",
    )
    parser.add_argument("target", metavar="OUT", help="the file to write, .pth or .safetensors")
    parser.add_argument(
        "--to", choices=("mimeval", "mae"), default="mimeval", help="format to write (default: %(default)s)"
    )
    parser.add_argument("--image-size", type=int, metavar="N", help="resample the positions to images of N x N pixels")
    parser.add_argument("--force", action="store_true", help="overwrite OUT")
    parser.add_argument(
        "--trust-pickle",
        action="store_true",
        help="read IN as a full pickle, which runs whatever code it contains: only for files whose author you trust",
    )


def run(args: argparse.Namespace) -> int:
    from mimeval.checkpoints.convert import convert
    from mimeval.engine.outputs import checkpoint_of

    report = convert(checkpoint_of(args.source), args.target, args.to, args.image_size, args.force, args.trust_pickle)
    print(report)
    return 0
