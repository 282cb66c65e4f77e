"""What the values in a file look like: finite, all zero, never trained; by samples of every tensor, or by all of it."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mimeval.errors import UserError

from .reading import Stored
from .reading.archive import read_apart

# Of a tensor longer than WHOLE values, BLOCKS runs of RUN values are read, spread evenly over it.
WHOLE, BLOCKS, RUN = 8192, 8, 1024
CHUNK = 1 << 20


@dataclass
class Values:
    """Of one tensor, over the values that were looked at. Not finite ones are counted and left out of the rest."""

    seen: int = 0
    infinite: int = 0
    zero: int = 0
    low: float = math.inf
    high: float = -math.inf
    total: float = 0.0
    squares: float = 0.0

    def add(self, values: Tensor) -> None:
        if not values.numel():
            return
        if values.dtype not in (torch.float32, torch.float64):
            values = values.float()
        self.seen += values.numel()
        total = values.sum(dtype=torch.float64).item()
        if not math.isfinite(total):  # one value that is not finite shows in the sum
            finite = values[torch.isfinite(values)]
            self.infinite += values.numel() - finite.numel()
            values, total = finite, finite.sum(dtype=torch.float64).item()
        if values.numel():
            low, high = (bound.item() for bound in values.aminmax())
            self.low, self.high = min(self.low, low), max(self.high, high)
            self.zero += values.numel() - int(values.count_nonzero())
            self.total += total
            self.squares += torch.linalg.vector_norm(values, dtype=torch.float64).item() ** 2

    @property
    def constant(self) -> bool:
        return self.seen > 1 and not self.infinite and self.low == self.high

    @property
    def std(self) -> float:
        count = self.seen - self.infinite
        return math.sqrt(max(self.squares / count - (self.total / count) ** 2, 0.0)) if count else math.nan


@dataclass
class Health:
    """Of a state dict. deep: every value was looked at, else samples."""

    deep: bool
    infinite: list[str] = field(default_factory=list)
    """Tensors with NaN or infinite values."""
    zero: list[str] = field(default_factory=list)
    """Tensors in which every value that was looked at is zero, biases apart."""
    constant: list[str] = field(default_factory=list)
    """Tensors in which every value is one other number, norms apart."""
    untrained: str = ""
    """Why the whole looks as if it had never been trained, empty if it does not."""
    std: dict[str, float] = field(default_factory=dict)


def look(state: dict[str, Any], deep: bool = False) -> Health:
    """The health of a state dict of `Stored` or real tensors; integers are not looked at."""
    found = {name: values for name, value in state.items() if (values := _values(value, deep)) is not None}
    health = Health(deep)
    for name, values in found.items():
        health.std[name] = values.std
        if values.infinite:
            health.infinite.append(name)
        elif _is_norm(name, found) or name.endswith("bias"):
            continue  # these start at one value, and some stay there
        elif values.zero == values.seen:
            health.zero.append(name)
        elif values.constant:
            health.constant.append(name)
    health.untrained = _untrained(found)
    return health


def _is_norm(name: str, names: Container[str]) -> bool:
    path = name.rpartition(".")[0]
    owner = path.rpartition(".")[2]
    return "norm" in owner or owner.startswith(("ln", "bn")) or f"{path}.running_mean" in names


def _untrained(found: dict[str, Values]) -> str:
    """Norms start at weight 1 and bias 0, linear biases at 0; hardly a step of training leaves them there."""
    weights = [values for name, values in found.items() if _is_norm(name, found) and name.endswith("weight")]
    biases = [values for name, values in found.items() if name.endswith("bias") and not name.startswith("patch_embed")]
    if len(weights) < 2:
        return ""
    ones = sum(values.constant and values.low == 1 for values in weights)
    zeros = sum(values.zero == values.seen for values in biases)
    if ones * 10 >= len(weights) * 9 and zeros * 10 >= len(biases) * 9:
        return f"{ones} of {len(weights)} norms have weight 1 and {zeros} of {len(biases)} biases are 0, as before training"
    return ""


def _values(tensor: Any, deep: bool) -> Values | None:
    if isinstance(tensor, np.ndarray):
        tensor = torch.from_numpy(tensor.astype(tensor.dtype.newbyteorder("=")))
    if not tensor.dtype.is_floating_point:
        return None
    values = Values()
    for part in _stored(tensor, deep) if isinstance(tensor, Stored) else [tensor.detach().flatten()]:
        values.add(part)
    return values


def _stored(stored: Stored, deep: bool) -> Iterator[Tensor]:
    # The bytes from the tensor's first value to its last: those in between belong to it, or to its neighbours.
    if not stored.numel:
        return
    itemsize = stored.dtype.itemsize
    last = stored.offset + sum((size - 1) * step for size, step in zip(stored.shape, stored.stride, strict=True))
    first, count = stored.offset, last - stored.offset + 1
    if count <= WHOLE:
        runs = [(first, count)]
    elif deep:
        runs = [(first + begin, min(CHUNK, count - begin)) for begin in range(0, count, CHUNK)]
    else:
        runs = [(first + (count - RUN) * block // (BLOCKS - 1), RUN) for block in range(BLOCKS)]
    with stored.extent.path.open("rb", buffering=0) as stream:
        if not deep:
            read_apart(stream)
        for begin, length in runs:
            stream.seek(stored.extent.start + begin * itemsize)
            data = bytearray(stream.read(length * itemsize))
            if len(data) != length * itemsize:
                raise UserError(f"{stored.extent.path} became shorter while it was read; try again.")
            yield torch.frombuffer(data, dtype=stored.dtype)
