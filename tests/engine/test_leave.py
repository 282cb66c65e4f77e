"""SIGTERM and SIGINT: the iteration is finished and saved, the run says how to go on, and going on loses nothing."""

from __future__ import annotations

import multiprocessing
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mimeval.checkpoints.state import read_file
from mimeval.cli.main import main

EPOCHS = 8  # of five iterations
OPTIONS = ["train_dataloader.batch_size=2", "+model.dropout=0.5", f"train_cfg.max_epochs={EPOCHS}"]


@pytest.fixture
def command(config_file, data_root, tmp_path):
    """The arguments of `mimeval train` of 40 iterations into `name`."""

    def build(name, *options, wait="", flags=()):
        given = ["train", str(config_file), "--data", str(data_root), "--work-dir", str(tmp_path / name), *flags]
        hooks = [f"+custom_hooks=[{{'type':'Wait'{wait}}}]"]
        return [*given, "--cfg-options", *OPTIONS, *hooks, *options]

    return build


def begin(arguments, said):
    """`mimeval` in a forked process that leads a group of its own and writes its stderr to a file."""

    def work():
        torch.set_num_threads(1)
        os.setsid()
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        sys.stderr = os.fdopen(2, "w", buffering=1)
        sys.exit(main(arguments))

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def wait_for(folder, text, sessions=1):
    """Until the logs of so many sessions of a run have the text."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if sum(text in log.read_text() for log in folder.glob("**/*.log")) >= sessions:
            return
        time.sleep(0.01)
    pytest.fail(f"'{text}' never came")


def code(process):
    process.join(60)
    return process.exitcode


def saved(folder):
    """The iteration that a run saved when it left."""
    (file,) = folder.glob("iter_*.pth")
    return int(re.fullmatch(r"iter_(\d+)", file.stem)[1])


@pytest.mark.parametrize(
    "signum, whole_group, workers", [(signal.SIGTERM, False, 0), (signal.SIGINT, True, 2), (signal.SIGTERM, True, 2)]
)
def test_a_run_that_is_asked_to_leaves_and_goes_on(command, tmp_path, signum, whole_group, workers):
    persistent = [f"train_dataloader.num_workers={workers}", f"+train_dataloader.persistent_workers={workers > 0}"]
    whole = begin(command("whole", *persistent, wait=",'train':0"), tmp_path / "whole.txt")
    parts = begin(command("parts", *persistent), tmp_path / "said.txt")
    wait_for(tmp_path / "parts", "[2][2/5]")
    # Ctrl-C and Slurm reach every process, data workers too; `kill` only one.
    (os.killpg if whole_group else os.kill)(parts.pid, signum)
    assert code(parts) == 128 + signum
    iteration = saved(tmp_path / "parts")
    assert 7 <= iteration < 40
    last = (tmp_path / "said.txt").read_text().splitlines()[-1]
    assert last.startswith(
        f"mimeval: stopped by {signal.Signals(signum).name}: iteration {iteration} is saved in "
        f"{tmp_path / 'parts' / f'iter_{iteration}.pth'}; go on with: "
    )
    again = shlex.split(last.partition("go on with: ")[2])
    assert again[-1] == "--resume" and again[:3] == [Path(sys.executable).name, "-m", "mimeval"]
    assert code(begin(again[3:], tmp_path / "again.txt")) == 0 and code(whole) == 0
    one, two = (read_file(tmp_path / name / f"epoch_{EPOCHS}.pth") for name in ("whole", "parts"))
    assert all(torch.equal(two["state_dict"][name], value) for name, value in one["state_dict"].items())
    assert one["message_hub"]["runtime_info"]["images_seen"] == two["message_hub"]["runtime_info"]["images_seen"] == 80


def test_the_second_signal_ends_at_once(command, tmp_path):
    run = begin(command("run", wait=",'train':30"), tmp_path / "said.txt")
    wait_for(tmp_path / "run", "[1][1/5]")
    os.kill(run.pid, signal.SIGTERM)
    time.sleep(2.2)
    assert run.is_alive()
    os.kill(run.pid, signal.SIGTERM)
    assert code(run) == -signal.SIGTERM and not list((tmp_path / "run").glob("*.pth"))


def test_a_run_leaves_between_two_updates_only(command, tmp_path):
    run = begin(command("run", "+optim_wrapper.accumulative_counts=4"), tmp_path / "said.txt")
    wait_for(tmp_path / "run", "[2][1/5]")
    os.kill(run.pid, signal.SIGTERM)
    assert code(run) == 143 and saved(tmp_path / "run") % 4 == 0


def validation(data_root):
    dataset = f"{{'type':'ImageFolder','folder':'{data_root}/imagenet/train','pipeline':[{{'type':'LoadRGB'}},"
    dataset += "{'type':'ResizeCenterCrop','size':8},{'type':'PackImages'}]}"
    loader = f"{{'batch_size':5,'sampler':{{'type':'DefaultSampler','shuffle':False}},'dataset':{dataset}}}"
    return [f"+val_dataloader={loader}", "+val_evaluator={'type':'ColourError'}", "+val_cfg={}"]


def test_a_validation_of_saved_weights_is_left_at_once(command, data_root, tmp_path):
    options = [*validation(data_root), "train_cfg.max_epochs=1"]
    run = begin(command("run", *options, wait=",'val':1.5"), tmp_path / "said.txt")
    wait_for(tmp_path / "run", "Epoch(val)")
    os.kill(run.pid, signal.SIGTERM)
    assert code(run) == 143 and "validation at step" not in (tmp_path / "said.txt").read_text()
    assert "iteration 5 is saved in" in (tmp_path / "said.txt").read_text()
    assert [path.name for path in (tmp_path / "run").glob("*.pth")] == ["epoch_1.pth"]
    again = command("run", *options, wait=",'val':0", flags=["--resume"])
    assert code(begin(again, tmp_path / "again.txt")) == 0
    assert "validation at step 5" in (tmp_path / "again.txt").read_text()


def test_a_validation_of_unsaved_weights_is_finished_first(command, data_root, tmp_path):
    unsaved = "+default_hooks.checkpoint={'type':'CheckpointHook','interval':-1,'save_last':False}"
    run = begin(command("run", *validation(data_root), unsaved, wait=",'val':0.7"), tmp_path / "said.txt")
    wait_for(tmp_path / "run", "Epoch(val)")
    os.kill(run.pid, signal.SIGTERM)
    assert code(run) == 143
    assert "validation at step 5" in (tmp_path / "said.txt").read_text() and saved(tmp_path / "run") == 6


def torchrun(arguments, said):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", port]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(
        [*launcher, "-m", "mimeval", *arguments], stderr=open(said, "w"), env=environment, start_new_session=True
    )


def test_all_processes_leave_after_the_same_iteration(command, tmp_path):
    arguments = command("run", "train_dataloader.batch_size=1", flags=["--launcher", "pytorch"])
    run = torchrun(arguments, tmp_path / "said.txt")
    wait_for(tmp_path / "run", "[2][1/5]")
    # One rank alone is asked; the other one learns of it.
    ranks = subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True, check=True).stdout.split()
    assert len(ranks) == 2
    os.kill(int(ranks[1]), signal.SIGTERM)
    assert run.wait(60) != 0
    said = (tmp_path / "said.txt").read_text()
    iteration = saved(tmp_path / "run")
    assert said.count("mimeval: stopped by SIGTERM") == 1 and f"iteration {iteration} is saved" in said
    assert "go on with: the same command and --resume" in said
    saving = read_file(tmp_path / "run" / f"iter_{iteration}.pth")
    assert saving["message_hub"]["runtime_info"]["images_seen"] == 2 * iteration
    # And again, with the signal to the launcher, which passes it on.
    run = torchrun([*arguments, "--resume"], tmp_path / "said.txt")
    wait_for(tmp_path / "run", "Epoch(train)", sessions=2)
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) != 0
    assert "is saved in" in (tmp_path / "said.txt").read_text()
    files = sorted(int(path.stem[5:]) for path in (tmp_path / "run").glob("iter_*.pth"))
    assert files[0] == iteration < files[-1]
