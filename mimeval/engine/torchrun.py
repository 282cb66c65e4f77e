"""Starting a verb's processes on this machine: `python -m mimeval.engine.torchrun GPUS VERB [arguments]`, for tools/dist_*.sh.

torchrun starts and watches them; here its settings come from the environment (NNODES, NODE_RANK, MASTER_ADDR, PORT), what is
wrong with them is said in a sentence, and so is which process was killed.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import get_args_parser, run

from mimeval.cli.main import sentence
from mimeval.engine.environment import usable_cores
from mimeval.errors import UserError

DEFAULT_PORT = 29500


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: that of the first process that failed (1 if it was killed), 2 the user can put it right, 130 and 143 stopped."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # What torchrun logs about a failed process is a screen of Python that hides the process's own sentence.
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        settings, environment = torchrun_settings(arguments)
        os.environ.update(environment)
        run(get_args_parser().parse_args(settings))
        return 0
    except UserError as error:
        print(f"mimeval: {sentence(error)}", file=sys.stderr)
        return 2
    except ChildFailedError as error:
        # A process that ended by itself has said why; torchrun then ends the others with SIGTERM.
        killed = [
            item for item in error.failures.items() if item[1].exitcode < 0 and item[1].exitcode != -signal.SIGTERM
        ]
        if not killed:
            return max(1, error.get_first_failure()[1].exitcode)
        rank, failure = killed[0]
        print(
            f"mimeval: rank {rank} (process {failure.pid} on {socket.gethostname()}) was killed by "
            f"{signal.Signals(-failure.exitcode).name}; if nobody did so, it ran out of memory; run the same command with "
            "--resume to go on",
            file=sys.stderr,
        )
        return 1
    except SignalException as error:
        return 128 + error.sigval.value
    except (dist.DistError, RuntimeError) as error:
        text = " ".join(str(error).split())
        print(
            f"mimeval: the machines did not meet at {os.environ.get('MASTER_ADDR')}, port {os.environ.get('PORT')} "
            f"({text[:200]}); start every one of NNODES with the same MASTER_ADDR and PORT and its own NODE_RANK",
            file=sys.stderr,
        )
        return 2


def torchrun_settings(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """torchrun's command line for GPUS VERB [arguments] and this environment, and what else its processes are told by theirs.

    Raises:
        UserError: a number that is none, more processes than GPUs, no address for several machines, a port in use.
    """
    if len(arguments) < 2:
        raise UserError("expected GPUS (processes on this machine) and what to run, found too few arguments")
    gpus = _count("GPUS", arguments[0], 1)
    visible = torch.cuda.device_count()
    if 0 < visible < gpus:
        raise UserError(f"GPUS: expected at most {visible}, the GPUs of this machine, found {gpus}; lower it")
    nodes = _count("NNODES", os.environ.get("NNODES", "1"), 1)
    node = _count("NODE_RANK", os.environ.get("NODE_RANK", "0"), 0)
    if node >= nodes:
        raise UserError(
            f"NODE_RANK: expected 0 to {nodes - 1}, as NNODES is {nodes}, found {node}; correct one of them"
        )
    if nodes > 1 and "MASTER_ADDR" not in os.environ:
        raise UserError("MASTER_ADDR: expected the address of the first of several machines, found none; set it")
    address = os.environ.get("MASTER_ADDR", "127.0.0.1")
    given = os.environ.get("PORT")
    port = _count("PORT", given, 1) if given else DEFAULT_PORT if nodes > 1 else _free_port()
    if node == 0 and not _is_free(port):
        raise UserError(f"PORT: expected a free port, found {port} in use, by another run perhaps; set PORT to another")
    # torchrun's own default is one thread per process, which leaves cores idle.
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, usable_cores() // gpus))
    settings = [
        f"--nnodes={nodes}",
        f"--node_rank={node}",
        f"--master_addr={address}",
        f"--master_port={port}",
        f"--nproc_per_node={gpus}",
        *("-m", "mimeval", *arguments[1:], "--launcher", "pytorch"),
    ]
    return settings, {"MASTER_ADDR": address, "PORT": str(port), "OMP_NUM_THREADS": threads}


def _count(name: str, text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise UserError(f"{name}: expected an integer from {least} on, found '{text}'; correct it")
    return int(text)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except (OSError, OverflowError):
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
