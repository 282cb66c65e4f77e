"""`mimeval convert`: one checkpoint format into another, verified."""

from __future__ import annotations

import argparse

from mimeval.cli.reading_arguments import add_reading_arguments

NAME = "convert"
HELP = "convert a checkpoint between formats, check the result and say what changed"
# Families that can be written; named here because a verb is described without importing torch.
FORMATS = (
    ("mimeval", "mae", "simmim", "beit", "data2vec", "cae", "timm_vit", "timm_swin", "timm_eva02")
    + ("hf_vit", "hf_vitmae", "hf_dinov2", "hf_swin", "mmpretrain_vit", "mmpretrain_beit", "mmpretrain_swin")
    + ("mmseg_vit", "mmseg_mae", "mmseg_beit", "mmseg_swin", "vitdet", "vitdet_mmdet")
)
# Libraries with several layouts: the one that holds the most of the checkpoint is taken.
LIBRARIES = ("timm", "hf", "mmpretrain", "mmseg")
EXAMPLE = "mimeval convert mae_pretrain_vit_base.pth checkpoints/mae_vitb.safetensors --to mimeval"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="IN",
        help="the checkpoint to read: .pth or .safetensors of a known family, or a run's folder (its newest)",
    )
    parser.add_argument("target", metavar="OUT", help="the file to write, .pth or .safetensors")
    parser.add_argument(
        "--to",
        choices=(*LIBRARIES, *FORMATS),
        metavar="FORMAT",
        default="mimeval",
        help=f"format to write (default: %(default)s): {', '.join(LIBRARIES)} (the layout that fits), or {', '.join(FORMATS)}",
    )
    parser.add_argument(
        "--window",
        type=int,
        metavar="N",
        help="resample a Swin's tables to windows of N x N tokens (with --image-size)",
    )
    parser.add_argument(
        "--patch-size",
        type=int,
        metavar="N",
        help="resize a ViT's patch embedding to N x N pixels: 16 for patches of 14 in detection and segmentation",
    )
    add_reading_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from mimeval.checkpoints.convert import convert
    from mimeval.engine.outputs import checkpoint_of

    report = convert(
        checkpoint_of(args.source),
        args.target,
        args.to,
        args.image_size,
        args.force,
        args.trust_pickle,
        args.switch,
        args.num_heads,
        args.window,
        args.patch_size,
    )
    print(report)
    return 0
