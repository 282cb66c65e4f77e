"""`mimeval analyze`: look at what a method makes of images."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from mimeval.cli.main import fresh_line
from mimeval.cli.run_arguments import positive, seed

NAME = "analyze"
HELP = "score a tokenizer (TCAS), follow mask tokens through a model (heterogeneity), compare convergence (RAUC)"
EXAMPLE = "mimeval analyze tcas checkpoints/tokens_pixel.safetensors DATA --images 20000"
HETEROGENEITY = "mimeval analyze heterogeneity demo/emae_demo checkpoints/emae_demo.safetensors data/demo --images 200"
RAUC = "mimeval analyze rauc mae.csv mto.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="analyze_verb", required=True, metavar="WHAT")
    tcas = verbs.add_parser(
        "tcas",
        help="token-class alignment similarity of a tokenizer on labelled images, with a bootstrap interval",
        epilog=f"example: {EXAMPLE}",
    )
    tcas.add_argument("tokenizer", metavar="TOKENIZER", help="file that `mimeval tokenize fit` wrote")
    _add_images(tcas, "train")
    tcas.add_argument(
        "--norm", choices=("l1", "frobenius"), default="l1", help="of the matrix of cosines (default: %(default)s)"
    )
    tcas.add_argument(
        "--bootstrap", type=int, default=200, metavar="R", help="replicates, 0 for no interval (default: %(default)s)"
    )
    tcas.add_argument("--seed", type=seed, default=0, help="of images and bootstrap (default: %(default)s)")
    tcas.add_argument("--backbone", metavar="CKPT", help="where the backbone of a feature tokenizer lies now")
    tcas.set_defaults(analyze=_tcas)

    curves = verbs.add_parser(
        "heterogeneity",
        help="how little mask tokens resemble any visible token at each depth of a pre-trained model (a reconstruction of MTO's)",
        epilog=f"example: {HETEROGENEITY}",
    )
    curves.add_argument("config", metavar="CONFIG", help="the pre-training config of the checkpoint")
    curves.add_argument(
        "checkpoint", metavar="CKPT", help="a whole model, decoders included, as `mimeval train` writes it"
    )
    _add_images(curves, "val")
    curves.add_argument(
        "--temperature", type=_above_zero, default=0.1, help="of the softmax of cosines (default: %(default)s)"
    )
    curves.add_argument("--seed", type=seed, default=0, help="of images and masks (default: %(default)s)")
    curves.add_argument(
        "--cfg-options", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="override keys of the config"
    )
    curves.set_defaults(analyze=_heterogeneity)

    rauc = verbs.add_parser(
        "rauc",
        help="how soon a method reaches a baseline's accuracy, from two curves over epochs (unverified readings of MTO's measure)",
        epilog=f"example: {RAUC}",
    )
    for name in ("baseline", "method"):
        rauc.add_argument(name, metavar=name.upper(), help="CSV file with the columns epoch and accuracy")
    rauc.add_argument("--json", action="store_true", help="print everything as one JSON line")
    rauc.set_defaults(analyze=_rauc)


def _add_images(parser: argparse.ArgumentParser, split: str) -> None:
    parser.add_argument("data", metavar="DATA", help="folder with imagenet/, that folder, or a data.yaml")
    parser.add_argument("--split", choices=("train", "val"), default=split, help="default: %(default)s")
    parser.add_argument("--images", type=positive, metavar="N", help="as many, drawn by the seed (default: all)")
    parser.add_argument("--batch", type=positive, default=128, help="images at a time (default: %(default)s)")
    parser.add_argument("--jobs", type=positive, metavar="N", help="processes that read (default: one per usable core)")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON line")


def _above_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, found '{text}'")
    return value


def run(args: argparse.Namespace) -> int:
    return args.analyze(args)


def _tcas(args: argparse.Namespace) -> int:
    import torch

    from mimeval.analysis.tcas import labelled_images, measure, summary
    from mimeval.engine.environment import setup_environment
    from mimeval.errors import UserError
    from mimeval.pretrain.tokenizers import read_tokenizer, tokenizer_of

    setup_environment()
    if not 0 <= args.bootstrap != 1:
        raise UserError(f"--bootstrap {args.bootstrap}: expected 0 or at least 2 replicates; 200 are usual")
    file = read_tokenizer(args.tokenizer)
    tokenizer = tokenizer_of(file, args.backbone)
    tokenizer.to("cuda" if torch.cuda.is_available() else "cpu")
    batches = labelled_images(file, args.data, args.split, args.images, args.seed, args.batch, _workers(args.jobs))
    found = _watched(lambda progress: measure(tokenizer, file, batches, args.norm, args.bootstrap, args.seed, progress))
    if found is None:
        return 130
    facts = {"tokenizer": str(file.path), "sha256": file.sha256, "split": args.split}
    print(json.dumps(facts | found.as_dict()) if args.json else summary(found, file.path))
    return 0


def _heterogeneity(args: argparse.Namespace) -> int:
    from mimeval.analysis.heterogeneity import load_model, measure, summary
    from mimeval.analysis.images import image_batches
    from mimeval.engine.config import load_config
    from mimeval.engine.environment import setup_environment
    from mimeval.engine.runner import RUN_KEYS

    setup_environment()
    model = load_model(load_config(args.config, args.cfg_options, known_keys=RUN_KEYS), args.checkpoint)
    pipeline: list[dict] = [
        dict(type="LoadRGB"),
        dict(type="ResizeCenterCrop", size=model.image_size[0]),
        dict(type="PackImages"),
    ]
    workers = _workers(args.jobs)
    batches = image_batches(
        args.data, args.split, pipeline, args.images, args.seed, args.batch, workers, with_label=False
    )
    total = len(batches.dataset)
    found = _watched(
        lambda progress: measure(
            model, batches, args.temperature, args.seed, lambda done, rate: progress(done, total, rate)
        )
    )
    if found is None:
        return 130
    facts = {"config": args.config, "checkpoint": args.checkpoint, "split": args.split}
    print(json.dumps(facts | found.as_dict()) if args.json else summary(found, args.checkpoint))
    return 0


def _rauc(args: argparse.Namespace) -> int:
    from mimeval.analysis.rauc import rauc, read_curve, summary

    found = rauc(read_curve(args.baseline), read_curve(args.method))
    facts = {"baseline": args.baseline, "method": args.method}
    print(json.dumps(facts | found.as_dict()) if args.json else summary(found))
    return 0


def _workers(jobs: int | None) -> int:
    from mimeval.engine.environment import usable_cores

    jobs = jobs or usable_cores()
    return jobs if jobs > 1 else 0


def _watched(measure: Callable[[Callable[[int, int, float], None]], Any]) -> Any:
    """What `measure` finds, with a line of progress meanwhile; None if it was interrupted."""
    from mimeval.engine.hooks.progress import clock
    from mimeval.engine.live import LiveLine

    line = LiveLine()

    def progress(done: int, total: int, rate: float) -> None:
        line.update(f"image {done:,}/{total:,}  {rate:,.0f} images/s  eta {clock((total - done) / rate)}")

    try:
        found = measure(progress)
    except KeyboardInterrupt:
        print(f"{fresh_line()}mimeval: interrupted", file=sys.stderr)
        return None
    line.clear()
    return found
