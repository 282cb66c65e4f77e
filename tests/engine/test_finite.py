"""A loss, a gradient or a parameter that is no number ends a run in its iteration, by name, with nothing saved after."""

from __future__ import annotations

import math
import types

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub

from mimeval.engine.config import load_config
from mimeval.engine.hooks import FiniteHook
from mimeval.engine.runner import RUN_KEYS, build_runner, prepare
from mimeval.errors import UserError
from mimeval.registry import HOOKS
from tests.engine.ranks import in_ranks


@HOOKS.register_module()
class Spoil(Hook):
    """In one iteration makes a weight NaN, its gradient infinite, or, after all others have looked, a weight infinite."""

    priority = "VERY_HIGH"

    def __init__(self, iteration, what, rank=None):
        self.iteration, self.what, self.rank = iteration, what, rank

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 != self.iteration or self.rank not in (None, runner.rank):
            return
        layer = getattr(runner.model, "module", runner.model).layer
        if self.what == "weight":
            layer.weight.data[0, 0] = math.nan
        if self.what == "gradient":
            layer.weight.register_hook(lambda gradient: gradient * math.inf)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration and self.what == "later":
            runner.model.layer.weight.data[0, 0] = math.inf


@pytest.fixture
def start(config_file, data_root, tmp_path):
    """Builds a run of ten images in batches of two or as asked for, with a spoilt iteration."""

    def build(iteration, what, *options, rank=None, **choices):
        spoil = f"+custom_hooks=[{dict(type='Spoil', iteration=iteration, what=what, rank=rank)}]"
        cfg = load_config(config_file, ["train_dataloader.batch_size=2", spoil, *options], str(data_root), RUN_KEYS)
        prepare(cfg, work_dir=str(tmp_path / "run"), **choices)
        return build_runner(cfg)

    return build


def names(runner, iteration, batch=2):
    """The files of an iteration's batch."""
    data = runner.train_dataloader.dataset
    return [
        data[index]["data_samples"].img_path
        for *_, index in runner.model.seen[batch * (iteration - 1) : batch * iteration]
    ]


def test_a_loss_that_is_none_is_told_with_its_batch(start, tmp_path):
    runner = start(8, "weight")
    with pytest.raises(UserError) as told:
        runner.train()
    said = str(told.value)
    assert f"in iteration 8 on {', '.join(names(runner, 8))}, found loss nan, loss_colour nan; " in said
    assert said.startswith(f"config {tmp_path / 'tiny.py'}: expected finite numbers")
    assert f"the last good checkpoint is {tmp_path / 'run' / 'epoch_1.pth'}; likely causes: a learning rate" in said
    assert "fp16" in said and "base_lr" in said
    assert [path.name for path in (tmp_path / "run").glob("*.pth")] == ["epoch_1.pth"]
    # What is logged ends before it.
    assert runner.iter == 7 and not any(
        "nan" in log.read_text() for log in tmp_path.glob("run/*/vis_data/scalars.json")
    )


def test_at_most_eight_files_are_named(start):
    runner = start(1, "weight", "train_dataloader.batch_size=10")
    with pytest.raises(UserError, match=r"\.png and 2 more, found .*no checkpoint was saved before"):
        runner.train()


def test_a_gradient_without_a_norm_ends_a_run(start, tmp_path):
    with pytest.raises(UserError, match="in iteration 3 on .*png, found a gradient of norm inf; no checkpoint"):
        start(3, "gradient").train()
    with pytest.raises(UserError, match="in iteration 4 on"):
        # Between two updates there is no norm to look at.
        start(3, "gradient", "+optim_wrapper.accumulative_counts=4").train()


def test_parameters_that_are_none_are_not_saved(start, tmp_path):
    with pytest.raises(
        UserError, match="in iteration 5, found a parameter that is not, layer.weight, and wrote no checkpoint"
    ):
        start(5, "later").train()
    assert not list((tmp_path / "run").glob("*.pth"))


def test_of_several_processes_the_one_at_fault_names_its_files(start):
    def work():
        runner = start(4, "weight", rank=1, launcher="pytorch")
        with pytest.raises(UserError) as told:
            runner.train()
        own = [sample for sample in runner.model.module.seen[6:8]]
        data = runner.train_dataloader.dataset
        return str(told.value), [data[index]["data_samples"].img_path for *_, index in own]

    (first, _), (second, files) = in_ranks(work)
    assert first == second and f"iteration 4 on {', '.join(files)}, found loss nan" in first


def fp16(norms, skips):
    """The hook after updates with these norms under loss scaling."""
    hub = MessageHub("finite-test")
    hub.update_scalar("train/loss", 1.0)
    hook = FiniteHook(skips=skips)
    for norm in norms:
        wrapper = types.SimpleNamespace(grad_norm=norm, scaler=object(), should_update=lambda: True)
        runner = types.SimpleNamespace(
            message_hub=hub, optim_wrapper=wrapper, iter=6, source="c.py", saved=None, own_outputs={"loss": 1.0}
        )
        hook.after_train_iter(runner, 0, {}, {"loss": torch.tensor(1.0)})


def test_loss_scaling_may_skip_updates_but_not_for_ever():
    fp16([math.inf] * 50 + [1.0] + [math.nan] * 50, skips=50)
    with pytest.raises(UserError, match="found a gradient of norm inf in 3 updates in a row"):
        fp16([1.0, math.inf, math.inf, math.inf], skips=2)
