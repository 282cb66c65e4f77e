"""Arguments that verbs share which read a checkpoint and write another file; no verb itself."""

from __future__ import annotations

import argparse


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """How IN is read, and whether OUT may be overwritten."""
    parser.add_argument("--image-size", type=int, metavar="N", help="resample the positions to images of N x N pixels")
    parser.add_argument(
        "--num-heads",
        type=int,
        metavar="N",
        help="attention heads of a ViT, where IN does not say and they are not 64 wide",
    )
    parser.add_argument(
        "--switch", nargs="+", action="extend", default=[], metavar="NAME=VALUE",
        help="a choice that IN's family offers: container=student, positions=bicubic, merging=as_stored",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="overwrite OUT")
    parser.add_argument(
        "--trust-pickle",
        action="store_true",
        help="read IN as a full pickle, which runs whatever code it contains: only for files whose author you trust",
    )
