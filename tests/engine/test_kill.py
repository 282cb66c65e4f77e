"""Runs that are killed with SIGKILL at any iteration and resumed end bit for bit as those that are not.

Each job runs in processes of its own, through the command line. MIMEVAL_LONG_TESTS=1 kills at five random iterations instead
of a fixed one, once for each number of data workers.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook

from mimeval.checkpoints.state import read_file
from mimeval.cli.main import main
from mimeval.datasets.demo import DemoSpec, generate
from mimeval.registry import HOOKS
from mimeval.transfer.report.curves import read_runs

LONG = bool(os.environ.get("MIMEVAL_LONG_TESTS"))
MEASURED = {"time", "data_time", "images_per_s", "peak_bytes", "memory"}
VIT = "{'embed_dim':16,'depth':2,'num_heads':2}"
EVERY_STEP = ["default_hooks.logger.interval=1"]
# 32 images: an epoch of eight batches of four. A checkpoint every third iteration, inside epochs too.
EPOCHS = ["train_dataloader.batch_size=4", "train_cfg.max_epochs=2"]
ITERATIONS = ["train_dataloader.batch_size=4", "train_cfg.max_iters=16", "train_cfg.val_interval=8"]
LAST = 16
JOBS = {
    "pretraining": (
        "demo/emae_demo",
        [*EPOCHS, f"model.backbone.arch={VIT}", "model.decoders.0.embed_dim=16", "param_scheduler.0.warmup=1"],
    ),
    "finetune": (
        "demo/finetune_demo",
        [
            *EPOCHS,
            f"model.backbone.arch={VIT}",
            "model.head.in_channels=16",
            "+model.backbone.drop_path_rate=0.5",
            "model.data_preprocessor.mixup={'mixup_alpha':0.8,'cutmix_alpha':1.0}",
            "train_cfg.val_interval=1",
            "custom_hooks=[{'type':'mmpretrain.EMAHook','momentum':0.1}]",
        ],
    ),
    "detection": ("demo/detection_demo", [*ITERATIONS, "param_scheduler.0.warmup=2"]),
    "segmentation": ("demo/segmentation_demo", [*ITERATIONS, "param_scheduler.0.warmup=2"]),
}


@HOOKS.register_module()
class OrderHook(Hook):
    """Writes which samples each iteration was given, before anything else happens in it."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        keys = [sample.sample_key for sample in data_batch["data_samples"]]
        with Path(runner.work_dir, "order.jsonl").open("a") as stream:
            stream.write(json.dumps([runner.iter, keys]) + "\n")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("data") / "demo", DemoSpec(train=32, val=30, seed=1))


@pytest.fixture
def run(data, request, tmp_path):
    """Starts `mimeval train` of a job in a forked process; returns the process."""

    def start(job, workers, name, *more):
        config, options = JOBS[job]
        hooks = [option for option in options if option.startswith("custom_hooks")]
        others = hooks[0].partition("=[")[2][:-1] + "," if hooks else ""
        chosen = [
            *(option for option in options if option not in hooks),
            *EVERY_STEP,
            f"custom_hooks=[{others}{{'type':'OrderHook'}}]",
            "default_hooks.checkpoint={'type':'CheckpointHook','by_epoch':False,'interval':3,'max_keep_ckpts':2}",
            f"train_dataloader.num_workers={workers}",
            f"train_dataloader.persistent_workers={workers > 0}",
        ]
        command = ["train", config, "--data", str(data), "--work-dir", str(tmp_path / name), *more]
        process = multiprocessing.get_context("fork").Process(
            target=_main, args=([*command, "--cfg-options", *chosen],)
        )
        process.start()
        return process

    return start


def _main(arguments):
    torch.set_num_threads(1)  # a fork has none of its parent's OpenMP threads, and would wait for them
    sys.exit(main(arguments))


def finished(process):
    process.join(120)
    assert process.exitcode == 0
    return process


def killed(process, folder, iteration):
    """Kill as soon as the iteration is in the log."""
    end = time.monotonic() + 120
    while process.is_alive() and time.monotonic() < end:
        for log in folder.glob("*/vis_data/scalars.json"):
            if any(f'"step": {iteration}}}' in line and "loss" in line for line in log.read_text().splitlines()):
                process.kill()
                process.join(10)
                assert process.exitcode == -9
                return
        time.sleep(0.002)
    pytest.fail(f"iteration {iteration} never came")


def order(folder):
    """The samples of each iteration, those of the run that went on where two did the same one."""
    lines = [json.loads(line) for line in (folder / "order.jsonl").read_text().splitlines()]
    return dict(map(tuple, lines)), len(lines)


def same(left, right, path=""):
    """Compares what two checkpoints hold, down to the bits."""
    assert type(left) is type(right), path
    if isinstance(left, dict):
        assert left.keys() == right.keys(), path
        for key in left:
            same(left[key], right[key], f"{path}.{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), path
        for place, (one, two) in enumerate(zip(left, right, strict=True)):
            same(one, two, f"{path}.{place}")
    elif isinstance(left, torch.Tensor | np.ndarray):
        assert left.dtype == right.dtype and (np.asarray(left) == np.asarray(right)).all(), path
    else:
        assert left == right, path


def compare(whole, parts):
    one, two = (read_file(folder / f"iter_{LAST}.pth") for folder in (whole, parts))
    for part in ("state_dict", "optimizer", "param_schedulers", "ema_state_dict"):
        if part in one or part in two:
            same(one[part], two[part], part)
    for name in ("epoch", "iter", "position", "seed"):
        assert one["meta"][name] == two["meta"][name]
    assert one["message_hub"]["runtime_info"]["images_seen"] == two["message_hub"]["runtime_info"]["images_seen"] == 64
    ((whole_order, _), (parts_order, done)) = order(whole), order(parts)
    assert whole_order == parts_order and sorted(whole_order) == list(range(LAST))
    (one,), (two,) = read_runs(whole), read_runs(parts)
    for key in one.values.keys() - MEASURED:
        assert one.values[key] == two.values[key], key
    assert [step for step, _ in one.values["loss"]] == list(range(1, LAST + 1))
    return done


SHORT_CASES = [("pretraining", 2), ("finetune", 0), ("detection", 0), ("segmentation", 2)]


@pytest.mark.parametrize(
    "job, workers", [(job, workers) for job in JOBS for workers in (0, 2)] if LONG else SHORT_CASES
)
def test_a_killed_run_ends_as_one_that_was_not(run, tmp_path, job, workers):
    whole = tmp_path / "whole"
    finished(run(job, workers, whole.name))
    # Not the last ones: the process may be gone before it is killed.
    for point in random.SystemRandom().sample(range(1, LAST - 1), 5) if LONG else [11]:
        parts = tmp_path / f"parts{point}"
        killed(run(job, workers, parts.name), parts, point)
        time.sleep(1)  # a session's folder is named by the second in which it begins
        finished(run(job, workers, parts.name, "--resume"))
        done = compare(whole, parts)
        print(f"{job}, {workers} workers: killed in iteration {point}, {done - LAST} done again, equal in all bits")
