"""`mimeval export`: a checkpoint as a folder of timm or transformers, or as a graph."""

from __future__ import annotations

import argparse
from pathlib import Path

from mimeval.cli.reading_arguments import add_reading_arguments

NAME = "export"
HELP = "write a checkpoint as a folder that timm or transformers loads, or as ONNX, TorchScript or torch.export, and check it"
EXAMPLE = "mimeval export epoch_100.pth vitb_hf --to hf-folder --results work_dirs/transfer"
KINDS = ("onnx", "torchscript", "torch-export", "timm-hub-folder", "hf-folder")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="IN",
        help="the checkpoint to read: of any known family, or a run's folder (its newest)",
    )
    parser.add_argument(
        "target", metavar="OUT", help="the folder to write, or a file: .onnx, .ts (torchscript), .pt2 (torch-export)"
    )
    parser.add_argument("--to", choices=KINDS, required=True, help="what to write")
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="a transfer run of IN, whose figures go into the model card"
    )
    add_reading_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from mimeval.checkpoints.export import export
    from mimeval.engine.outputs import checkpoint_of

    report = export(
        checkpoint_of(args.source),
        args.target,
        args.to,
        args.image_size,
        args.force,
        args.trust_pickle,
        args.switch,
        args.num_heads,
        args.results,
    )
    print(report)
    return 0
