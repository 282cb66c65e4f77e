"""Becoming one of many processes: torchrun's or slurm's environment, NCCL on GPUs, gloo on CPUs."""

from __future__ import annotations

import contextlib
import datetime
import logging
import multiprocessing
import os
import subprocess
import sys

import torch
import torch.distributed as dist

from mimeval.engine import heartbeat
from mimeval.errors import UserError

LAUNCHERS = ("none", "pytorch", "slurm")
# Seconds without a step after which a run with many processes ends (env_cfg.dist_cfg.timeout).
TIMEOUT_S = 1800.0
# Collectives give up this much later than the heartbeat, which can say who is missing: NCCL's watchdog only aborts.
GRACE_S = 120.0
_joined = False


def init_distributed(launcher: str, timeout_s: float | None = None) -> None:
    """Join the process group, if there is to be one, and begin to watch over it. mmengine's own would ask for a GPU.

    Raises:
        UserError: an unknown launcher, one whose environment variables are not there, more processes than GPUs, or
            processes that do not find each other.
    """
    global _joined
    if launcher not in LAUNCHERS:
        raise UserError(f"--launcher {launcher}: expected one of {', '.join(LAUNCHERS)}, found '{launcher}'")
    if launcher == "none" or dist.is_initialized():
        return
    timeout_s = TIMEOUT_S if timeout_s is None else timeout_s
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or timeout_s <= 0:
        raise UserError(f"env_cfg.dist_cfg.timeout: expected seconds above 0, found {timeout_s!r}; correct it")
    if launcher == "slurm":
        _translate_slurm()
    missing = [
        name for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ
    ]
    if missing:
        raise UserError(
            f"--launcher {launcher}: expected the environment variables of torchrun, found no {', '.join(missing)}; "
            "start with tools/dist_train.sh CONFIG GPUS"
        )
    use_cuda = torch.cuda.is_available()
    if use_cuda:
        torch.cuda.set_device(_own_gpu())
    try:
        dist.init_process_group("nccl" if use_cuda else "gloo", timeout=datetime.timedelta(seconds=timeout_s + GRACE_S))
    except (RuntimeError, ValueError) as error:
        raise UserError(f"--launcher {launcher}: {_why_alone(error)}") from error
    _joined = True
    heartbeat.start(timeout_s)


def leave_distributed() -> None:
    """Leave the group when all have come to their end. Nothing happens where there is none."""
    if not dist.is_initialized():
        return
    # The first process may hold the store that the others' notes are in.
    dist.barrier()
    heartbeat.stop()
    dist.destroy_process_group()


def end_process(code: int) -> None:
    """End a process that has joined others; return in one that has not.

    Python's own ending takes torch's threads down in an order in which those of gloo now and then abort (seen with 2.11), and a
    finished run would count as a failed one.
    """
    if not _joined:
        return
    heartbeat.rest()
    for child in multiprocessing.active_children():
        child.terminate()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def _own_gpu() -> int:
    """The GPU of this process. Slurm may show each of its tasks a single one."""
    local, visible = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if visible == 1 and "SLURM_PROCID" in os.environ:
        return 0
    if local >= visible:
        raise UserError(
            f"--launcher: expected a GPU for every process of this machine, found {visible} GPUs and process {local + 1}; "
            "start fewer processes"
        )
    return local


def _why_alone(error: Exception) -> str:
    """In words, why the processes did not meet."""
    rank, world = os.environ["RANK"], os.environ["WORLD_SIZE"]
    address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    text = " ".join(str(error).split())
    if "EADDRINUSE" in text or "address already in use" in text.lower():
        return f"port {os.environ['MASTER_PORT']} of this machine is in use, by another run perhaps; set PORT to a free one"
    return (
        f"process {rank} expected to meet {world} processes at {address} (MASTER_ADDR and PORT), found: {text[:200]}; "
        "check that every machine was started, with the same address and port and with its own NODE_RANK"
    )


def _translate_slurm() -> None:
    """torchrun's variables from slurm's."""
    try:
        rank, world, nodes = (os.environ[name] for name in ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NODELIST"))
    except KeyError as error:
        raise UserError(
            f"--launcher slurm: expected the environment variables of srun, found no {error.args[0]}; "
            "start with tools/slurm_train.sh PARTITION JOB_NAME CONFIG"
        ) from None
    local = os.environ.get("SLURM_LOCALID") or str(int(rank) % max(1, torch.cuda.device_count()))
    os.environ.update(RANK=rank, WORLD_SIZE=world, LOCAL_RANK=local)
    # From the number of the job: two jobs that share a machine take different ports.
    job = os.environ.get("SLURM_JOB_ID", "")
    chosen = str(20000 + int(job) % 20000) if job.isdecimal() else "29500"
    os.environ.setdefault("MASTER_PORT", os.environ.get("PORT") or chosen)
    if "MASTER_ADDR" in os.environ:
        return
    try:
        listed = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
        os.environ["MASTER_ADDR"] = listed.stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise UserError(
            f"--launcher slurm: expected `scontrol show hostnames {nodes}` to name this job's machines, found: {error}; "
            "set MASTER_ADDR to the first one"
        ) from error
