"""What a pickle holds, with real objects in place of descriptions."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from .arrays import Array, DType, History
from .machine import Malformed, Opaque
from .storages import Stored

DEEPEST = 64
NODES = (Stored, Array, DType, History, Opaque, dict, list, tuple, argparse.Namespace)


def finish(tree: Any, make: Callable[[Stored], Any]) -> Any:
    """The tree, in place where that is possible, with `make` of every `Stored`; arrays and histories become themselves.

    Raises Malformed for what contains itself or is nested deeper than `DEEPEST`.
    """
    return _Finisher(make).visit(tree, 0)[0]


class _Finisher:
    # No closures that refer to each other: they would hold on to files that are mapped.

    def __init__(self, make: Callable[[Stored], Any]):
        self.make = make
        # The original is kept beside what was made of it, so that no other object gets its id; and the height below it.
        self.done: dict[int, tuple[Any, Any, int]] = {}
        self.inside: set[int] = set()

    def visit(self, value: Any, depth: int) -> tuple[Any, int]:
        if not isinstance(value, NODES) or (isinstance(value, tuple) and type(value) is not tuple):
            return value, 0
        if id(value) in self.inside:
            raise Malformed("it contains itself")
        if id(value) not in self.done:
            if depth > DEEPEST:
                raise Malformed(f"it is nested more than {DEEPEST} levels deep")
            self.inside.add(id(value))
            self.done[id(value)] = (value, *self._rebuilt(value, depth))
            self.inside.discard(id(value))
        _, made, height = self.done[id(value)]
        if depth + height > DEEPEST:
            raise Malformed(f"it is nested more than {DEEPEST} levels deep")
        return made, height

    def _rebuilt(self, value: Any, depth: int) -> tuple[Any, int]:
        if isinstance(value, Stored):
            return self.make(value), 0
        if isinstance(value, Array | DType):
            return value.value, 0
        if isinstance(value, History):
            return value.value(lambda part: self.visit(part, depth + 1)[0]), 0
        if isinstance(value, argparse.Namespace | Opaque):
            inner = value.parts if isinstance(value, Opaque) else vars(value)
            return value, self.visit(inner, depth + 1)[1] + 1
        found = [self.visit(part, depth + 1) for part in (value.values() if isinstance(value, dict) else value)]
        height = max((below for _, below in found), default=0) + 1
        if isinstance(value, dict):
            for name, (part, _) in zip(value, found, strict=True):
                value[name] = part
            return value, height
        if isinstance(value, list):
            value[:] = [part for part, _ in found]
            return value, height
        return tuple(part for part, _ in found), height
