"""Several processes of one distributed run, forked from the test."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any

import torch

from mimeval.engine.launch import leave_distributed


def in_ranks(work: Callable[[], Any], world_size: int = 2) -> list[Any]:
    """What `work()` returns in each rank, in order; tensors are to be handed over as arrays."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    context = multiprocessing.get_context("fork")
    queue = context.Queue()

    def rank(number: int) -> None:
        torch.set_num_threads(1)  # a fork has none of its parent's OpenMP threads, and would wait for them
        os.environ.update(RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE=str(world_size))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        queue.put((number, work()))
        leave_distributed()

    processes = [context.Process(target=rank, args=(number,)) for number in range(world_size)]
    for process in processes:
        process.start()
    results = dict(queue.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return [results[number] for number in range(world_size)]
