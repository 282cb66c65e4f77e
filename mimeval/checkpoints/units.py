"""Sizes and counts as people read them."""

from __future__ import annotations

BYTES = 1000


def size(count: float) -> str:
    """1.21 GB, 985.7 kB, 312 bytes."""
    if count < BYTES:
        return f"{count:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        count /= BYTES
        if count < BYTES or unit == "GB":
            break
    return f"{count:.2f} {unit}" if unit == "GB" else f"{count:.1f} {unit}"


def count_of(count: float) -> str:
    """303.3 M, 12.4 k, 768."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if count >= limit:
            return f"{count / (1e3 if unit == 'k' else limit):.1f} {unit}"
    return f"{count:,}"
