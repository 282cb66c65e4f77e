"""What several processes tell each other, and what one of them does for all. Alone, a process does everything itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist
from mmengine.dist import get_dist_info

from mimeval.engine import heartbeat
from mimeval.errors import UserError

T = TypeVar("T")


def gather(value: T) -> list[T]:
    """The first process gets the value of every process, the others nothing."""
    rank, world_size = get_dist_info()
    if world_size == 1:
        return [value]
    gathered: list[Any] = [None] * world_size
    dist.gather_object(value, gathered if rank == 0 else None)
    return gathered if rank == 0 else []


def from_first(value: T) -> T:
    """What the first process has, in every process."""
    values = [value]
    if get_dist_info()[1] > 1:
        heartbeat.at("waiting")  # the others for the first, which comes here last
        dist.broadcast_object_list(values)
    return values[0]


def by_first(work: Callable[[], T]) -> T:
    """What `work()` returns in the first process, in every process; the others only wait.

    Raises:
        UserError: the same in all processes, whatever went wrong in the first.
    """
    rank, world_size = get_dist_info()
    if world_size == 1:
        return work()
    result: Any = None
    fault: Exception | None = None
    if rank == 0:
        try:
            result = work()
        except Exception as error:  # the others hear of it, and it is raised again
            fault = error
    words = from_first(None if fault is None else str(fault))
    if fault is not None:
        raise fault
    if words is not None:
        raise UserError(words)
    return from_first(result)
