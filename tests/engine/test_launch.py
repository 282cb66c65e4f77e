"""Becoming one of many processes: slurm's environment, ports, GPUs, and what is said where they do not meet."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mimeval.engine import launch
from mimeval.engine.launch import init_distributed
from mimeval.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
NAMES = "RANK WORLD_SIZE LOCAL_RANK MASTER_ADDR MASTER_PORT PORT".split()
SLURM = "SLURM_PROCID SLURM_NTASKS SLURM_NODELIST SLURM_LOCALID SLURM_JOB_ID".split()


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """No process group's variables, a `scontrol` that lists two machines, and all as before at the end."""
    for name in (*NAMES, *SLURM):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\n[ "$3" = "gpu[07-08]" ] && printf "gpu07\\ngpu08\\n"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def slurm(monkeypatch, **more):
    for name, value in (
        dict(SLURM_PROCID="3", SLURM_NTASKS="4", SLURM_NODELIST="gpu[07-08]", SLURM_LOCALID="1") | more
    ).items():
        monkeypatch.setenv(name, value)


def test_slurm_says_who_and_where(monkeypatch):
    slurm(monkeypatch, SLURM_JOB_ID="1234567")
    launch._translate_slurm()
    assert [os.environ[name] for name in NAMES[:5]] == ["3", "4", "1", "gpu07", str(20000 + 1234567 % 20000)]


def test_a_port_that_was_asked_for_is_taken(monkeypatch):
    slurm(monkeypatch, SLURM_JOB_ID="1234567", PORT="4242", MASTER_ADDR="gpu08")
    launch._translate_slurm()
    assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("gpu08", "4242")


def test_machines_that_slurm_cannot_name(monkeypatch):
    slurm(monkeypatch, SLURM_NODELIST="other")
    with pytest.raises(UserError, match="expected `scontrol show hostnames other` to name .* set MASTER_ADDR"):
        launch._translate_slurm()


def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="found 2 GPUs and process 3"):
        launch._own_gpu()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert launch._own_gpu() == 1
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert launch._own_gpu() == 0, "slurm shows each task its own"


@pytest.mark.parametrize("timeout", [0, -3, "long", True])
def test_a_timeout_is_seconds(timeout):
    with pytest.raises(UserError, match="env_cfg.dist_cfg.timeout: expected seconds above 0"):
        init_distributed("pytorch", timeout)


def test_a_port_in_use_is_a_sentence(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for name, value in zip(NAMES, ("0", "2", "0", "127.0.0.1", port), strict=False):
            monkeypatch.setenv(name, value)
        with pytest.raises(UserError, match=f"port {port} of this machine is in use"):
            init_distributed("pytorch", 1.0)


def test_a_process_that_nobody_joins_gives_up(monkeypatch):
    monkeypatch.setattr(launch, "GRACE_S", 0.0)
    with socket.socket() as free:
        free.bind(("", 0))
        port = str(free.getsockname()[1])
    for name, value in zip(NAMES, ("0", "2", "0", "127.0.0.1", port), strict=False):
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"process 0 expected to meet 2 processes at 127.0.0.1:{port} .* NODE_RANK"):
        init_distributed("pytorch", 2.0)


SRUN = """#!/bin/sh
while [ "$1" != "${PYTHON}" ]; do
    [ "$1" = --ntasks ] && tasks=$2
    shift
done
n=0
while [ $n -lt $tasks ]; do
    SLURM_PROCID=$n SLURM_NTASKS=$tasks SLURM_LOCALID=$n SLURM_NODELIST=here SLURM_JOB_ID=$$ "$@" &
    n=$((n + 1))
done
wait
"""


def test_slurm_train_starts_one_process_per_task(config_file, data_root, tmp_path, monkeypatch):
    """With an `srun` that starts its tasks on this machine."""
    for name, text in (("srun", SRUN), ("scontrol", "#!/bin/sh\necho 127.0.0.1\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    command = ["tools/slurm_train.sh", "gpu", "tiny", str(config_file), "--data", str(data_root)]
    command += ["--work-dir", str(tmp_path / "run"), "--cfg-options", "train_dataloader.batch_size=2"]
    environment = os.environ | dict(GPUS="2", PYTHON=sys.executable, OMP_NUM_THREADS="1")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
    assert "batch 4 = 2 x 2 processes" in done.stderr and done.stderr.count("trained TinyReconstructor") == 1, (
        done.stderr
    )
    assert (tmp_path / "run" / "epoch_2.pth").is_file()
