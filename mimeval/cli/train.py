"""`mimeval train`: run a config's training."""

from __future__ import annotations

import argparse

from mimeval.cli.run_arguments import add_config_arguments, seed

NAME = "train"
HELP = "train a config: pre-training or a downstream task"
EXAMPLE = "mimeval train configs/demo/emae_demo.py --data data/demo --work-dir work_dirs/emae --precision bf16"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIG, and how to run it."""
    add_config_arguments(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CKPT",
        help="continue from CKPT, or from the work dir's latest checkpoint",
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision: bf16 where the device has it, else fp16")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), help="compute in this precision")
    parser.add_argument("--auto-scale-lr", action="store_true", help="scale the config's absolute lr to the real batch")
    parser.add_argument("--seed", type=seed, help="seed of weights, samples, augmentations and masks")


def run(args: argparse.Namespace) -> int:
    """Train, then leave the process group."""
    import torch.distributed as dist

    from mimeval.engine.config import load_config
    from mimeval.engine.environment import setup_environment
    from mimeval.engine.outputs import latest_checkpoint
    from mimeval.engine.runner import RUN_KEYS, build_runner, prepare
    from mimeval.errors import UserError
    from mimeval.quiet import without_prints

    setup_environment()
    cfg = load_config(args.config, args.cfg_options, args.data, RUN_KEYS)
    prepare(
        cfg,
        work_dir=args.work_dir,
        resume=args.resume,
        precision=args.precision,
        amp=args.amp,
        auto_scale_lr=args.auto_scale_lr,
        launcher=args.launcher,
        seed=args.seed,
    )
    earlier = latest_checkpoint(cfg.work_dir)
    if args.resume is None and earlier is not None:
        raise UserError(
            f"--work-dir {cfg.work_dir}: expected a folder without checkpoints, found {earlier.name}; "
            "add --resume to go on from it, or choose another folder"
        )
    with without_prints():
        build_runner(cfg).train()
    if dist.is_initialized():
        dist.destroy_process_group()
    return 0
