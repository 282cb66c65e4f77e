"""Where a run goes on when its batches, its processes or its data are others than before."""

from __future__ import annotations

import shutil

import pytest
import torch

from mimeval.checkpoints.state import read_file
from mimeval.engine.config import load_config
from mimeval.engine.launch import init_distributed
from mimeval.engine.runner import RUN_KEYS, build_runner, prepare
from mimeval.errors import UserError
from tests.engine.ranks import in_ranks

COSINE = "param_scheduler=[{'type':'WarmupCosine','warmup':1,'convert_to_iter_based':True}]"
EPOCHS = ["train_cfg.max_epochs=3", COSINE]
ITERATIONS = [
    "train_cfg={'type':'IterBasedTrainLoop','max_iters':9,'val_interval':100}",
    "+train_dataloader.sampler.infinite=True",
]
SAVED = "+default_hooks.checkpoint={'type':'CheckpointHook','by_epoch':False,'interval':1,'max_keep_ckpts':-1}"


def batch(size):
    return f"train_dataloader.batch_size={size}"


@pytest.fixture
def start(config_file, data_root, tmp_path):
    """Builds a run of the tiny config on ten images; keyword arguments are those of `prepare`."""

    def build(*options, work_dir="run", **choices):
        cfg = load_config(config_file, options, str(data_root), RUN_KEYS)
        prepare(cfg, work_dir=str(tmp_path / work_dir), **choices)
        return build_runner(cfg)

    return build


@pytest.fixture
def saved(start, tmp_path):
    """Runs with a checkpoint after every iteration; gives the file after iteration n."""

    def run(*options):
        whole = start(*options, SAVED, work_dir="saved")
        whole.train()
        return whole, lambda n: str(tmp_path / "saved" / f"iter_{n}.pth")

    return run


def test_a_checkpoint_says_where_it_stands(saved):
    _, file = saved(*EPOCHS, batch(2))
    assert read_file(file(7))["meta"]["position"] == {"batch": 2, "images": 10, "epoch_batches": 5, "batches": 2}
    assert read_file(file(5))["meta"]["position"]["batches"] == 5, "the epoch is not closed yet"


def test_other_batches_go_on_after_the_same_images(saved, start):
    whole, file = saved(*EPOCHS, batch(2))
    # 14 images are 7 batches of 2 and, within the second epoch, 4 of 1.
    rest = start(*EPOCHS, batch(1), work_dir="rest", resume=file(7))
    rest.train()
    assert rest.model.seen == whole.model.seen[14:]
    assert rest.iter == 30 and rest.message_hub.get_info("images_seen") == 30


def test_the_rates_follow_the_epochs(saved, start):
    _, file = saved(*EPOCHS, batch(2))
    rest, plain = (start(*EPOCHS, batch(1), work_dir=name, resume=path) for name, path in (("a", file(7)), ("b", None)))
    for runner in (rest, plain):
        runner.train()
    ours, whole = (runner.message_hub.get_scalar("train/lr").data[0] for runner in (rest, plain))
    assert ours[7:].tolist() == whole[14:].tolist()


def test_two_processes_go_on_where_one_stood(saved, start):
    whole, file = saved(*EPOCHS, batch(2))

    def work():
        model = start(*EPOCHS, batch(1), work_dir="two", resume=file(7), launcher="pytorch").train().module
        return {name: value.numpy() for name, value in model.state_dict().items()}, model.seen

    (weights, first), (_, second) = in_ranks(work)
    assert [list(pair) for pair in zip(first, second, strict=True)] == [
        whole.model.seen[place : place + 2] for place in range(14, 30, 2)
    ]
    torch.testing.assert_close(torch.from_numpy(weights["layer.weight"]), whole.model.layer.weight, atol=1e-7, rtol=0)


def test_processes_that_find_different_checkpoints_do_not_begin(saved, start):
    _, file = saved(*EPOCHS, batch(2))

    def work():
        resume = file(10) if torch.distributed.get_rank() else None
        with pytest.raises(
            UserError, match="found iteration 0 on rank 0, iteration 10 on rank 1; put the work dir where"
        ):
            start(*EPOCHS, batch(1), work_dir="two", resume=resume, launcher="pytorch").train()
        return True

    def joined():
        init_distributed("pytorch")
        return work()

    assert in_ranks(joined) == [True, True]


@pytest.mark.parametrize(
    "made, options, point, says",
    [
        (
            EPOCHS,
            [*EPOCHS, batch(4)],
            6,
            "after 2 images of an epoch, which is no number of batches of 4; set .*batch_size=2",
        ),
        (
            ITERATIONS,
            [*ITERATIONS, batch(5)],
            4,
            "expected 2 images an iteration as before, found 5, .*batch_size=2 for 1 process",
        ),
        (
            ["train_cfg.max_epochs=3"],
            ["train_cfg.max_epochs=3", batch(1)],
            5,
            "an epoch had 5 batches and has 10, which LinearLR cannot follow",
        ),
    ],
)
def test_what_has_no_such_place_is_refused(saved, start, made, options, point, says):
    _, file = saved(*made, batch(2))
    with pytest.raises(UserError, match=says):
        start(*options, work_dir="rest", resume=file(point)).train()


def test_another_training_set_is_refused_inside_an_epoch_only(saved, start, data_root):
    _, file = saved(*EPOCHS, batch(2))
    for name in ("cat", "dog"):
        (data_root / "imagenet" / "train" / name / "4.png").unlink()
    with pytest.raises(UserError, match="expected the training set of 10 images that it stands in, found 8"):
        start(*EPOCHS, batch(2), work_dir="rest", resume=file(7)).train()
    rest = start(*EPOCHS, batch(2), work_dir="rest", resume=file(10))
    rest.train()
    assert rest.iter == 12 and len(rest.model.seen) == 8


def test_iterations_too_want_the_same_training_set(saved, start, data_root):
    _, file = saved(*ITERATIONS, batch(2))
    shutil.rmtree(data_root / "imagenet" / "train" / "dog")
    with pytest.raises(UserError, match="expected the training set of 10 images"):
        start(*ITERATIONS, batch(2), work_dir="rest", resume=file(3)).train()


def test_a_first_update_of_fewer_batches_is_said(saved, start, capfd):
    _, file = saved(*EPOCHS, batch(2))
    capfd.readouterr()
    start(*EPOCHS, batch(2), "+optim_wrapper.accumulative_counts=4", work_dir="rest", resume=file(7)).train()
    assert "iter_7.pth: the first update has the gradients of 1 instead of 4 batches" in capfd.readouterr().err
