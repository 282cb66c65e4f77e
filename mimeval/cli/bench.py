"""`mimeval bench`: what a step costs on this machine."""

from __future__ import annotations

import argparse

from mimeval.cli.run_arguments import positive

NAME = "bench"
HELP = "measure images per second and peak memory of training steps"
EXAMPLE = "mimeval bench step configs/mae_vitb.py configs/emae_vitb.py --batch 16 --precision fp32,bf16"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="bench_verb", required=True, metavar="WHAT")
    step = verbs.add_parser(
        "step",
        help="forward, backward and optimiser on random images; candidates take turns",
        epilog=f"example: {EXAMPLE}",
    )
    step.add_argument(
        "configs", nargs="+", metavar="CONFIG", help="configs of pre-trainings, classifiers, detectors, segmentors"
    )
    step.add_argument("--batch", type=positive, default=16, help="images per step (default: %(default)s)")
    step.add_argument("--size", type=positive, metavar="S", help="images of S x S pixels (default: the config's)")
    step.add_argument("--precision", default="fp32", help="comma-separated: fp32, bf16, fp16 (default: %(default)s)")
    step.add_argument(
        "--repeats", type=positive, default=5, help="measured steps of each candidate (default: %(default)s)"
    )
    step.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="override config values")
    step.add_argument("--json", action="store_true", help="print one JSON object per candidate")


def run(args: argparse.Namespace) -> int:
    import json

    from mimeval.analysis.cost import StepCost, measure, training_step
    from mimeval.engine.config import load_config
    from mimeval.engine.environment import setup_environment
    from mimeval.errors import UserError

    setup_environment()
    precisions = args.precision.split(",")
    unknown = sorted(set(precisions) - {"fp32", "bf16", "fp16"})
    if unknown:
        raise UserError(f"--precision knows fp32, bf16 and fp16, not {', '.join(unknown)}.")
    candidates = []
    for path in args.configs:
        config = load_config(path, args.cfg_options)
        for precision in precisions:
            cost = StepCost(path, precision, args.batch)
            candidates.append((cost, training_step(config, args.batch, precision, args.size)))
    rows = [cost.as_dict() for cost in measure(candidates, args.repeats)]
    first = rows[0]["median_s"]
    for row in rows:
        if args.json:
            print(json.dumps(row))
        else:
            print(
                f"{row['name']} {row['precision']}: {row['images_per_s']:.2f} images/s "
                f"({row['median_s']:.3f} s a step of {row['batch']}, {row['min_s']:.3f} to {row['max_s']:.3f}, "
                f"{row['median_s'] / first:.2f} x the first), peak {row['peak_bytes'] / 2**30:.2f} GiB"
            )
    return 0
