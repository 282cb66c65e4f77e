"""numpy arrays, numbers and dtypes, and mmengine's histories, as a pickle describes them: checked, then made of plain bytes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from .machine import Malformed

PLAIN_DTYPE = re.compile(r"[<>|=]?(?:[?bBhHiIlLqQefd]|[biufc]\d{1,2}|[SUa]\d{0,6})")
MOST_DIMS = 16
STATISTICS = ("min", "max", "current", "mean")


class Array:
    """An array that is being unpickled: empty until its state comes."""

    def __init__(self, value: np.ndarray | None = None):
        self.value = value

    def update(self, state: Any) -> None:
        """(version, shape, dtype, order, bytes): what ndarray.__setstate__ takes."""
        if type(state) is not tuple or len(state) != 5:
            raise Malformed("it has a numpy array without shape, dtype and values")
        _, shape, dtype, fortran, data = state
        if isinstance(data, list):
            raise Malformed("it has a numpy array of objects")
        self.value = from_buffer(data, dtype, shape, "F" if fortran else "C").value


class DType:
    """A dtype that is being unpickled; the order of bytes comes with its state."""

    def __init__(self, code: Any, *_: Any):
        if not isinstance(code, str) or not PLAIN_DTYPE.fullmatch(code):
            raise Malformed(f"it has a numpy array of {str(code)[:40]}")
        self.code, self.order = code, ""

    def update(self, state: Any) -> None:
        order = state[1] if type(state) is tuple and len(state) > 1 else ""
        self.order = order if order in ("<", ">", "=", "|") else ""

    @property
    def value(self) -> np.dtype:
        dtype = np.dtype(self.code)
        return dtype.newbyteorder(self.order) if self.order else dtype  # type: ignore[arg-type]


class History:
    """mmengine's HistoryBuffer that is being unpickled."""

    state: Any = None

    def update(self, state: Any) -> None:
        self.state = state

    def value(self, finished: Callable[[Any], Any]) -> Any:
        """The buffer; `finished` makes an array of an `Array`."""
        from mmengine.logging import HistoryBuffer

        state = self.state if isinstance(self.state, dict) else {}
        values, counts = (finished(state.get(name)) for name in ("_log_history", "_count_history"))
        longest = state.get("max_length")
        if not isinstance(values, np.ndarray) or not isinstance(counts, np.ndarray) or values.shape != counts.shape:
            raise Malformed("it has a history of values without their counts")
        made = HistoryBuffer(max_length=longest if isinstance(longest, int) else 1_000_000)
        made._log_history, made._count_history = values, counts
        return made


def makers() -> dict[str, Callable[..., Any]]:
    """By the names that numpy 1 and numpy 2 write."""
    found: dict[str, Callable[..., Any]] = {"numpy.dtype": DType}
    for core in ("numpy.core", "numpy._core"):
        found[f"{core}.multiarray._reconstruct"] = lambda *_: Array()
        found[f"{core}.multiarray.scalar"] = _scalar
        found[f"{core}.numeric._frombuffer"] = from_buffer
    return found


def as_bytes(data: Any, encoding: Any = "latin1", *_: Any) -> bytes:
    """Bytes, or text that stands for them, as protocol 2 writes them; not a number, which would be that many zeros."""
    if isinstance(data, bytes | bytearray):
        return bytes(data)
    if not isinstance(data, str) or encoding not in ("latin1", "latin-1", "iso-8859-1", "utf-8", "ascii"):
        raise Malformed(f"its pickle makes bytes of a {type(data).__name__}")
    return data.encode(encoding)


def from_buffer(data: Any, dtype: Any, shape: Any, order: Any = "C") -> Array:
    data, kind = as_bytes(data), _kind(dtype)
    sizes = shape if type(shape) is tuple else (shape,)
    if len(sizes) > MOST_DIMS or any(type(size) is not int or size < 0 for size in sizes):
        raise Malformed(f"it has a numpy array of shape {list(sizes)[:6]}")
    count = 1
    for size in sizes:
        count *= size
    if count * kind.itemsize != len(data) or (data and not kind.itemsize):
        raise Malformed(f"it has a numpy array of shape {list(sizes)} with {len(data):,} bytes of {kind}")
    if not data:
        return Array(np.empty(sizes, kind))
    # A copy, because bytes cannot be written.
    return Array(np.frombuffer(data, kind, count).reshape(sizes, order="F" if order == "F" else "C").copy("K"))


def _scalar(dtype: Any, data: Any = b"") -> Any:
    data, kind = as_bytes(data), _kind(dtype)
    if len(data) != kind.itemsize or not data:
        raise Malformed(f"it has a number of {kind} with {len(data)} bytes")
    return np.frombuffer(data, kind, 1)[0]


def _kind(dtype: Any) -> np.dtype:
    if not isinstance(dtype, DType):
        raise Malformed("it has a numpy array without a dtype")
    return dtype.value
