"""Checkpoints: whole before an old one goes, between updates only, with averaged weights, and on a full disk."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys

import pytest
import torch
from mmengine.visualization import LocalVisBackend

from mimeval.checkpoints.state import read_file
from mimeval.engine import precision, strict_runner
from mimeval.engine.config import load_config
from mimeval.engine.outputs import latest_checkpoint
from mimeval.engine.runner import RUN_KEYS, build_runner, prepare
from mimeval.errors import UserError


@pytest.fixture
def start(config_file, data_root, tmp_path):
    """Builds a run of the tiny config; keyword arguments are those of `prepare`."""

    def build(*options, work_dir="run", **choices):
        cfg = load_config(config_file, options, str(data_root), RUN_KEYS)
        prepare(cfg, work_dir=str(tmp_path / work_dir), **choices)
        return build_runner(cfg)

    return build


def checkpoints(folder):
    return sorted(path.name for path in folder.glob("*.pth"))


def hook(**settings):
    return f"+default_hooks.checkpoint={dict(type='CheckpointHook', **settings)}"


def test_the_newest_are_kept_and_an_old_one_goes_after_the_new_one_is_whole(start, tmp_path, monkeypatch):
    three = [hook(interval=1, max_keep_ckpts=2), "train_cfg.max_epochs=3"]
    runner = start(*three)
    runner.train()
    assert checkpoints(tmp_path / "run") == ["epoch_2.pth", "epoch_3.pth"]
    assert runner.message_hub.get_info("kept_checkpoints") == ["epoch_2.pth", "epoch_3.pth"]
    assert (tmp_path / "run" / "last_checkpoint").read_text() == str(tmp_path / "run" / "epoch_3.pth")

    def fail(path, content):
        raise UserError(f"{path} cannot be written: no room; nothing was left there.")

    monkeypatch.setattr(strict_runner, "write_pth", fail)
    with pytest.raises(
        UserError, match="epoch_4.pth cannot be written.* the last checkpoint is .*epoch_3.pth: make room"
    ):
        start(three[0], "train_cfg.max_epochs=4", resume="auto").train()
    assert checkpoints(tmp_path / "run") == ["epoch_2.pth", "epoch_3.pth"]
    assert latest_checkpoint(tmp_path / "run").name == "epoch_3.pth"


def test_a_single_checkpoint_is_not_enough(start):
    with pytest.raises(UserError, match="max_keep_ckpts: expected 2 or more .*found 1"):
        start(hook(max_keep_ckpts=1))


@pytest.mark.parametrize(
    "by_epoch, names", [(True, ["epoch_2.pth", "iter_6.pth"]), (False, ["iter_10.pth", "iter_6.pth"])]
)
def test_nothing_is_saved_between_two_updates(start, tmp_path, by_epoch, names):
    # Five batches an epoch, an update every third and in the last: the first epoch ends between two.
    settings = ["train_dataloader.batch_size=2", "+optim_wrapper.accumulative_counts=3"]
    saving = hook(by_epoch=by_epoch, interval=1 if by_epoch else 5)
    whole = start(*settings, saving, work_dir="whole")
    whole.train()
    assert checkpoints(tmp_path / "whole") == names
    rest = start(*settings, saving, work_dir="rest", resume=str(tmp_path / "whole" / "iter_6.pth"))
    rest.train()
    assert torch.equal(rest.model.layer.weight, whole.model.layer.weight)
    assert rest.model.seen == whole.model.seen[12:]


def test_what_a_killed_process_had_begun_to_write_goes(start, tmp_path):
    start(work_dir="run").train()
    (tmp_path / "run" / ".epoch_3.pth.abc.tmp").write_bytes(b"half")
    start("train_cfg.max_epochs=3", work_dir="run", resume="auto").train()
    assert not list((tmp_path / "run").glob(".*")) and (tmp_path / "run" / "epoch_3.pth").is_file()


@pytest.mark.parametrize("kind", ["mmengine.EMAHook", "mmpretrain.EMAHook"])
def test_averaged_weights_go_on_exactly(start, tmp_path, kind):
    settings = [
        "+model.dropout=0.5",
        "train_dataloader.batch_size=2",
        f"+custom_hooks=[{{'type':'{kind}','momentum':0.1}}]",
    ]
    whole = start(*settings, hook(by_epoch=False, interval=3, max_keep_ckpts=-1), work_dir="whole")
    whole.train()
    rest = start(*settings, work_dir="rest", resume=str(tmp_path / "whole" / "iter_3.pth"))
    rest.train()
    last = start(*settings, work_dir="last", resume=str(tmp_path / "whole" / "iter_10.pth"))
    last.train()
    averages = [
        next(hook for hook in runner.hooks if type(hook).__name__ == "EMAHook").ema_model.state_dict()
        for runner in (whole, rest, last)
    ]
    assert averages[0]["steps"] == 10 and not torch.equal(averages[0]["module.layer.weight"], whole.model.layer.weight)
    for runner, average in zip((rest, last), averages[1:], strict=True):
        assert torch.equal(runner.model.layer.weight, whole.model.layer.weight)
        assert all(torch.equal(average[name], value) for name, value in averages[0].items())


def test_loss_scaling_goes_on_exactly(start, tmp_path, monkeypatch):
    # The CPU has a scaler, though no user gets it there.
    monkeypatch.setattr(precision, "_check", lambda device, name: None)
    settings = ["+model.dropout=0.5", "train_dataloader.batch_size=2", "+optim_wrapper.precision=fp16"]
    whole = start(*settings, hook(by_epoch=False, interval=3, max_keep_ckpts=-1), work_dir="whole")
    whole.train()
    rest = start(*settings, work_dir="rest", resume=str(tmp_path / "whole" / "iter_3.pth"))
    rest.train()
    assert torch.equal(rest.model.layer.weight, whole.model.layer.weight)
    state = rest.optim_wrapper.scaler.state_dict()
    assert state == whole.optim_wrapper.scaler.state_dict() and state["_growth_tracker"] == 10


def test_a_log_that_finds_the_disk_full_is_a_sentence(start, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    runner = start()
    monkeypatch.setattr(LocalVisBackend, "_dump", full)
    with pytest.raises(UserError, match="--work-dir .*: No space left on device; no checkpoint was saved before"):
        runner.train()


def train(config_file, data_root, work_dir, *options, limit=None):
    """`mimeval train` in a process of its own, which may write files of `limit` bytes at most."""
    command = [sys.executable, "-m", "mimeval", "train", config_file, "--data", data_root, "--work-dir", work_dir]
    # Three epochs; a checkpoint of 1.0 MB (weights and AdamW's two moments).
    sizes = ["model.size=96", "train_dataloader.dataset.dataset.pipeline.1.size=96", "train_cfg.max_epochs=3"]
    return subprocess.run(
        [*map(str, command), "--cfg-options", *sizes, *options],
        capture_output=True,
        text=True,
        preexec_fn=None if limit is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )


def complaint(done):
    """The sentence with which a process ended, all that it said after its progress."""
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 3 and lines[1].startswith("epoch 1/3"), done.stderr
    return lines[-1]


def test_a_full_disk_leaves_the_checkpoint_before(config_file, data_root, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2600k", "tmpfs", disk], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        said = complaint(train(config_file, data_root, disk / "run"))
        assert "epoch_3.pth cannot be written: No space left on device" in said
        assert "the last checkpoint is" in said and "epoch_2.pth: make room and go on with --resume" in said
        assert sorted(path.name for path in (disk / "run").iterdir() if not path.is_dir()) == [
            "config.py",
            "epoch_1.pth",
            "epoch_2.pth",
            "last_checkpoint",
        ]
        assert read_file(latest_checkpoint(disk / "run"))["meta"]["iter"] == 4
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_checkpoint_that_may_not_be_that_large_leaves_nothing(config_file, data_root, tmp_path):
    said = complaint(train(config_file, data_root, tmp_path / "run", limit=500_000))
    assert "epoch_1.pth cannot be written: File too large" in said and "no checkpoint was saved before" in said
    assert not list((tmp_path / "run").glob("*.pth")) and not list((tmp_path / "run").glob(".*.tmp"))
