"""Starting one of many processes: torchrun or slurm, NCCL on GPUs, gloo on CPUs."""

from __future__ import annotations

import datetime
import os
import subprocess

import torch
import torch.distributed as dist

from mimeval.errors import UserError

LAUNCHERS = ("none", "pytorch", "slurm")


def init_distributed(launcher: str, timeout_s: float | None = None) -> None:
    """Join the process group, if there is to be one. mmengine's own would ask for a GPU.

    Raises:
        UserError: an unknown launcher, or one whose environment variables are not there.
    """
    if launcher not in LAUNCHERS:
        raise UserError(f"--launcher {launcher}: expected one of {', '.join(LAUNCHERS)}, found '{launcher}'")
    if launcher == "none" or dist.is_initialized():
        return
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
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    timeout = datetime.timedelta(seconds=timeout_s) if timeout_s else None
    dist.init_process_group("nccl" if use_cuda else "gloo", timeout=timeout)


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
    os.environ.setdefault("MASTER_PORT", "29500")
    if "MASTER_ADDR" not in os.environ:
        listed = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
        os.environ["MASTER_ADDR"] = listed.stdout.split()[0]
