"""FSDP2 on two CPU processes: the numbers, names, groups and checkpoints of DDP."""

from __future__ import annotations

import pytest
import torch
from timm.models.vision_transformer import Block
from torch import nn

from mimeval.checkpoints.state import read_file
from mimeval.datasets.demo import DemoSpec, generate
from mimeval.engine.runner import as_test, build_runner
from mimeval.engine.sharding import shard
from mimeval.errors import UserError
from tests.engine.ranks import in_ranks
from tests.engine.steps import configure, difference, trained

CLIPPED = ("+optim_wrapper.clip_grad={'max_norm':0.2}", "default_hooks.checkpoint.interval=1")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("data") / "demo", DemoSpec(train=40, val=30, seed=1))


def run(name, data, folder, options, with_gradients=False, **choices):
    """What both of two processes noted."""
    options = (*options, "train_dataloader.batch_size=4")
    return in_ranks(
        lambda: trained(configure(name, data, folder, options, launcher="pytorch", **choices), with_gradients)
    )


@pytest.mark.parametrize(
    "name, fsdp", [("emae", "{'reshard_after_forward':False}"), ("finetune", "{'reshard_after_forward':True}")]
)
def test_a_spread_model_trains_as_a_copied_one(name, fsdp, data, tmp_path):
    options = (*CLIPPED, "train_cfg.max_epochs=1", "+optim_wrapper.accumulative_counts=2")
    copied, _ = run(name, data, tmp_path / "ddp", options, with_gradients=True)
    spread, other = run(name, data, tmp_path / "fsdp", (*options, f"+fsdp={fsdp}"), with_gradients=True)
    assert difference(spread, other) == 0 and max(copied["norms"]) > 0.2
    found = {part: difference(copied[part], spread[part]) for part in copied}
    print(name, fsdp, {part: f"{value:.1e}" for part, value in found.items()})
    assert all(value < 1e-6 for value in found.values())


def test_checkpoints_are_whole_and_resumed_with_or_without_sharding(data, tmp_path):
    options = (*CLIPPED, "+fsdp={'reshard_after_forward':True}")
    whole, _ = run("finetune", data, tmp_path / "whole", (*options, "train_cfg.max_epochs=2"))
    # The schedule is the one of two epochs in both.
    first = (*options, "train_cfg.max_epochs=1", "+param_scheduler.0.epochs=2", "+param_scheduler.0.end=2")
    run("finetune", data, tmp_path / "parts", first)
    saved = tmp_path / "parts" / "epoch_1.pth"
    plain = read_file(saved)
    assert all(type(value) is torch.Tensor for value in plain["state_dict"].values())
    assert all(
        type(value) is torch.Tensor for entry in plain["optimizer"]["state"].values() for value in entry.values()
    )
    assert any(entry["exp_avg"].abs().max() > 0 for entry in plain["optimizer"]["state"].values())

    length = ("train_cfg.max_epochs=2",)
    rest, _ = run("finetune", data, tmp_path / "rest", (*options, *length), resume=str(saved))
    assert len(rest["losses"]) == 5 and difference(rest["weights"], whole["weights"]) == 0
    # The same file goes on under DDP, and in one process.
    copied, _ = run("finetune", data, tmp_path / "copied", (*CLIPPED, *length), resume=str(saved))
    assert difference(copied["weights"], whole["weights"]) < 1e-6
    alone = configure(
        "finetune", data, tmp_path / "alone", (*options, *length, "train_dataloader.batch_size=8"), resume=str(saved)
    )
    assert difference(trained(alone)["weights"], whole["weights"]) < 1e-6


def test_the_evaluation_of_a_spread_model_is_exact(data, tmp_path):
    """30 images in batches of 7 are five batches: the second process takes part in the sixth forward pass for nothing."""
    options = (*CLIPPED, "train_cfg.max_epochs=1", "val_dataloader.batch_size=7")
    run("finetune", data, tmp_path / "train", options)
    checkpoint = str(tmp_path / "train" / "epoch_1.pth")

    def tested(folder, launcher):
        cfg = configure("finetune", data, tmp_path / folder, (*options, "+fsdp=True"), launcher=launcher)
        as_test(cfg, checkpoint)
        return build_runner(cfg).test()

    expected = tested("one", "none")
    assert in_ranks(lambda: tested("two", "pytorch")) == [expected, expected]


def test_layer_decay_does_not_know_of_it(data, tmp_path):
    def groups(options):
        cfg = configure("finetune", data, tmp_path / "run", options, launcher="pytorch")
        optimizer = build_runner(cfg).build_optim_wrapper(cfg.optim_wrapper).optimizer
        keys = ("param_names", "layer_id", "lr_scale", "lr", "weight_decay")
        return [{key: group[key] for key in keys} for group in optimizer.param_groups]

    copied, spread = (in_ranks(lambda options=options: groups(options))[0] for options in ((), ("+fsdp=True",)))
    assert spread == copied and len({group["layer_id"] for group in spread}) == 4


@pytest.mark.parametrize(
    "options, says",
    [
        (("+fsdp={'shard':1}",), "fsdp: expected keys among reshard_after_forward, found shard"),
        (("+fsdp={'reshard_after_forward':3}",), "reshard_after_forward: expected True or False, found 3"),
        (("+fsdp=True", "custom_hooks=[{'type':'EMAHook'}]"), "fsdp: expected no EMAHook"),
    ],
)
def test_what_does_not_go_with_it(options, says, data, tmp_path):
    def work():
        with pytest.raises(UserError, match=says):
            build_runner(configure("finetune", data, tmp_path / "run", options, launcher="pytorch"))

    in_ranks(work)


def test_an_encoding_that_takes_blocks_apart_is_refused():
    model = nn.Module()
    model.backbone, model.encoding = nn.Sequential(Block(8, 2)), nn.Module()
    model.encoding.takes_blocks_apart = True
    with pytest.raises(UserError, match="fsdp: expected an encoding that runs whole blocks"):
        shard(model, {})


def test_pictures_are_drawn_with_the_help_of_all(data, tmp_path):
    options = (*CLIPPED, "train_cfg.max_epochs=1", "custom_hooks=[{'type':'ReconstructionHook','interval':1}]")
    for folder, more in (("ddp", ()), ("fsdp", ("+fsdp=True",))):
        run("emae", data, tmp_path / folder, (*options, *more))
    copied, spread = (tmp_path / name / "reconstructions" / "epoch_000001.png" for name in ("ddp", "fsdp"))
    assert copied.read_bytes() == spread.read_bytes()


def test_alone_there_is_nothing_to_spread(data, tmp_path):
    runner = build_runner(configure("finetune", data, tmp_path / "run", ("+fsdp=True",)))
    assert type(runner.model).__name__ == "ImageClassifier"
