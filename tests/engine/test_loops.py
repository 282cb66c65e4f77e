"""Loops that begin at any iteration: the same batches, hooks, rates, logs and validations as without the interruption."""

from __future__ import annotations

import gc
import json
import multiprocessing
import time

import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.hooks import Hook
from torch.utils.data import BatchSampler, DataLoader

from mimeval.datasets import KeyedSampler
from mimeval.engine.config import load_config
from mimeval.engine.loops import batches_from, endless_from
from mimeval.engine.runner import RUN_KEYS, build_runner, prepare
from mimeval.errors import UserError
from mimeval.registry import HOOKS
from mimeval.transfer.report.curves import read_runs

# Ten images in batches of two: five iterations an epoch, with chance in every step.
SHORT = ["train_dataloader.batch_size=2", "+model.dropout=0.5", "train_cfg.max_epochs=3"]
SAVED = "+default_hooks.checkpoint={'type':'CheckpointHook','by_epoch':False,'interval':1,'max_keep_ckpts':-1}"
ITERATIONS = [
    "train_dataloader.batch_size=2",
    "+model.dropout=0.5",
    "train_cfg={'type':'IterBasedTrainLoop','max_iters':13,'val_interval':4}",
    "+train_dataloader.sampler.infinite=True",
]
MEASURED = {"time", "data_time", "images_per_s", "peak_bytes"}


@HOOKS.register_module()
class Diary(Hook):
    """Notes which hooks are called when."""

    def __init__(self):
        self.lines = []

    def before_train_epoch(self, runner):
        self.lines.append(("epoch", runner.epoch))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.lines.append(
            ("iter", runner.iter, batch_idx, round(runner.message_hub.get_scalar("train/lr").current(), 12))
        )

    def after_train_epoch(self, runner):
        self.lines.append(("end", runner.epoch))

    def before_val(self, runner):
        self.lines.append(("val", runner.iter))


@pytest.fixture
def start(config_file, data_root, tmp_path):
    """Builds a run of the tiny config with a Diary and a validation set; keyword arguments are those of `prepare`."""
    dataset = f"{{'type':'ImageFolder','folder':'{data_root}/imagenet/train','pipeline':[{{'type':'LoadRGB'}},"
    dataset += "{'type':'ResizeCenterCrop','size':8},{'type':'PackImages'}]}"
    common = [
        "+custom_hooks=[{'type':'Diary'}]",
        f"+val_dataloader={{'batch_size':5,'sampler':{{'type':'DefaultSampler','shuffle':False}},'dataset':{dataset}}}",
        "+val_evaluator={'type':'ColourError'}",
        "+val_cfg={}",
        "+default_hooks.logger.log_metric_by_epoch=False",
    ]

    def build(*options, work_dir="run", **choices):
        cfg = load_config(config_file, [*common, *options], str(data_root), RUN_KEYS)
        prepare(cfg, work_dir=str(tmp_path / work_dir), **choices)
        return build_runner(cfg)

    return build


def diary(runner):
    return next(hook for hook in runner.hooks if isinstance(hook, Diary)).lines


def logged(folder):
    (run,) = read_runs(folder)
    return {key: values for key, values in run.values.items() if key not in MEASURED}


@pytest.mark.parametrize("options", [SHORT, ITERATIONS], ids=["epochs", "iterations"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_goes_on_at_any_iteration(start, tmp_path, options, workers):
    persistent = [f"train_dataloader.num_workers={workers}", f"+train_dataloader.persistent_workers={workers > 0}"]
    whole = start(*options, *persistent, SAVED, work_dir="whole")
    whole.train()
    noted = diary(whole)
    last = len([line for line in noted if line[0] == "iter"])
    # Inside an epoch, at its end, before a validation and after one.
    for point in (3, 5, 8) if workers == 0 else (7,):
        file = tmp_path / "whole" / f"iter_{point}.pth"
        rest = start(*options, *persistent, work_dir=f"rest{point}", resume=str(file))
        rest.train()
        assert torch.equal(rest.model.layer.weight, whole.model.layer.weight), point
        assert rest.model.seen == whole.model.seen[2 * point :]
        hub = rest.message_hub
        assert hub.get_info("images_seen") == 2 * last and rest.iter == whole.iter and rest.epoch == whole.epoch
        # An epoch begins again, and all else follows as it did after this iteration.
        place = next(i for i, line in enumerate(noted) if line[:2] == ("iter", point - 1))
        expected, found = noted[place + 1 :], diary(rest)
        assert [line for line in found if line[0] != "epoch"] == [line for line in expected if line[0] != "epoch"], (
            point
        )
        # Smoothed over a window that reaches back before the resume, the logged values are the same.
        one, two = logged(tmp_path / "whole"), logged(tmp_path / f"rest{point}")
        for key in ("loss", "loss_colour", "lr", "grad_norm", "colour_error"):
            assert two[key] == [entry for entry in one[key] if entry[0] >= two[key][0][0]] and two[key], (point, key)


def test_chance_in_a_step_is_what_makes_the_difference(start):
    """The test above could not fail if steps drew nothing."""
    with_chance, without = start(*SHORT, work_dir="a"), start(*SHORT[::2], work_dir="b")
    with_chance.train()
    without.train()
    assert not torch.equal(with_chance.model.layer.weight, without.model.layer.weight)


def test_a_validation_that_did_not_finish_is_made_up_for(start, tmp_path):
    start(*SHORT, work_dir="run").train()
    again = start(*SHORT, work_dir="run", resume="auto")
    again.train()
    # The last checkpoint is older than the validation of its epoch.
    assert diary(again) == [("val", 15)]
    iterations = start(*ITERATIONS, SAVED, work_dir="iterations")
    iterations.train()
    for point, validated in ((8, [8, 12, 13]), (9, [12, 13])):
        rest = start(*ITERATIONS, work_dir=f"rest{point}", resume=str(tmp_path / "iterations" / f"iter_{point}.pth"))
        rest.train()
        assert [line[1] for line in diary(rest) if line[0] == "val"] == validated


def test_the_end_of_an_epoch_that_was_saved_before_it_was_closed(start, tmp_path):
    whole = start(*SHORT, SAVED, work_dir="whole")
    whole.train()
    rest = start(*SHORT, work_dir="rest", resume=str(tmp_path / "whole" / "iter_10.pth"))
    rest.train()
    assert diary(rest)[:4] == [("epoch", 1), ("end", 1), ("val", 10), ("epoch", 2)]
    assert torch.equal(rest.model.layer.weight, whole.model.layer.weight)


def test_an_endless_sampler_is_refused_where_epochs_must_end(start):
    with pytest.raises(
        UserError, match="expected one that ends its epochs for EpochBasedTrainLoop, found infinite=True"
    ):
        start("+train_dataloader.sampler.infinite=True").train()


class Indices:
    """A dataset that counts what is loaded."""

    def __init__(self, size=10):
        self.size = size
        self.loaded = 0

    def __len__(self):
        return self.size

    def __getitem__(self, key):
        self.loaded += 1
        return key if isinstance(key, int) else key.index


class Pairs(BatchSampler):
    """Groups odd and even indices, as a detector's sampler groups by aspect ratio."""

    def __iter__(self):
        groups = ([], [])
        for key in self.sampler:
            group = groups[(key if isinstance(key, int) else key.index) % 2]
            group.append(key)
            if len(group) == self.batch_size:
                yield group[:]
                group.clear()


def numbers(batches, count=None):
    return [batch.tolist() for _, batch in zip(range(count or 1000), batches, strict=False)]


@pytest.mark.parametrize("make", [KeyedSampler, DefaultSampler])
@pytest.mark.parametrize("grouped", [False, True])
def test_batches_that_are_done_are_not_loaded(make, grouped):
    def loader():
        data = Indices()
        sampler = make(data, seed=3)
        if grouped:
            return data, DataLoader(data, batch_sampler=Pairs(sampler, 2, False))
        return data, DataLoader(data, batch_size=2, sampler=sampler)

    whole = numbers(loader()[1])
    data, rest = loader()
    assert numbers(batches_from(rest, 3)) == whole[3:] and data.loaded == len(sum(whole[3:], []))
    assert len(rest) == 5
    assert numbers(batches_from(rest, 0)) == whole, "the next epoch is whole again"


@pytest.mark.parametrize(
    "make",
    [
        lambda data: KeyedSampler(data, seed=3, infinite=True),
        lambda data: InfiniteSampler(data, seed=3),
        lambda data: KeyedSampler(data, seed=3),
        lambda data: DefaultSampler(data, seed=3),
    ],
)
def test_endless_batches_go_on_anywhere(make):
    def batches(done):
        data = Indices()
        return data, endless_from(DataLoader(data, batch_size=2, sampler=make(data)), done)

    whole = numbers(batches(0)[1], 17)
    assert whole[:5] != whole[5:10]
    for done in (1, 5, 13):
        data, rest = batches(done)
        assert numbers(rest, 17 - done) == whole[done:] and data.loaded <= 2 * (18 - done)


def test_no_worker_outlives_its_run(start):
    for options in (SHORT, ITERATIONS):
        runner = start(*options, "train_dataloader.num_workers=2", "+train_dataloader.persistent_workers=True")
        runner.train()
        assert runner.train_dataloader._iterator is None and not multiprocessing.active_children()
        begin = time.monotonic()
        del runner
        gc.collect()
        assert time.monotonic() - begin < 5, "workers are waited for in vain"


def test_persistent_workers_get_whole_epochs_after_the_first_rest():
    data = Indices()
    batches = Pairs(DefaultSampler(data, seed=3), 2, False)
    whole = [list(batch) for batch in batches]
    loader = DataLoader(data, batch_sampler=batches, num_workers=1, persistent_workers=True)
    assert numbers(batches_from(loader, 3)) == whole[3:]
    assert numbers(batches_from(loader, 0)) == whole


def test_scalars_of_a_resumed_run_are_merged_without_a_gap(start, tmp_path):
    whole = start(*SHORT, work_dir="whole")
    whole.train()
    start(*SHORT[:2], "train_cfg.max_epochs=1", SAVED, work_dir="parts").train()
    # As a killed run leaves it: logged further than it was saved.
    for file in ("iter_4.pth", "iter_5.pth", "last_checkpoint"):
        (tmp_path / "parts" / file).unlink()
    time.sleep(1.1)  # a session's folder is named by the second in which it begins
    rest = start(*SHORT, work_dir="parts", resume="auto")
    rest.train()
    assert [step for step, _ in logged(tmp_path / "parts")["loss"]] == list(range(1, 16))
    assert logged(tmp_path / "parts")["loss"] == logged(tmp_path / "whole")["loss"]
    rows = [json.loads(line) for file in (tmp_path / "parts").glob("*/vis_data/scalars.json") for line in file.open()]
    assert sorted(row["step"] for row in rows if "loss" in row) == sorted([*range(1, 6), *range(4, 16)])
