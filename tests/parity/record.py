"""Comparisons with other implementations: they fail beyond a tolerance, and the table in docs/methods.md is made of them (table.py)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# What an error is a share of.
ABSOLUTE, LARGEST, EACH = "absolute", "of the largest entry", "of each entry"


@dataclass(frozen=True)
class Comparison:
    """One comparison that held. `test`: file::function; `error`: the largest one, measured as `of` says."""

    method: str
    quantity: str
    error: float
    tolerance: float
    of: str
    dtype: str
    test: str


COMPARISONS: list[Comparison] = []


def close(
    method: str,
    quantity: str,
    ours: Tensor | float | Sequence,
    theirs: Tensor | float | Sequence,
    tolerance: float,
    of: str = ABSOLUTE,
    name: str = "",
) -> None:
    """Asserts that no entry of ours is off by more than the tolerance, and notes the largest error.

    of: ABSOLUTE, or a share of theirs' LARGEST entry, or of EACH entry. name: what of the quantity it is, for the message.
    """
    ours, theirs = (
        value if torch.is_tensor(value) else torch.tensor(value, dtype=torch.float64) for value in (ours, theirs)
    )
    said = f"{method}: {quantity} {name}".rstrip()
    assert ours.shape == theirs.shape, f"{said} has the shape {list(ours.shape)}, expected {list(theirs.shape)}"
    assert ours.dtype == theirs.dtype, f"{said} is {ours.dtype}, expected {theirs.dtype}"
    assert torch.isfinite(ours).all(), f"{said} is not finite"
    error = (ours.detach().double() - theirs.detach().double()).abs()
    scale = {ABSOLUTE: torch.ones(()), LARGEST: theirs.abs().max(), EACH: theirs.abs()}[of]
    # Nothing is off by no share of nothing.
    share = torch.where(error == 0, 0.0, error / scale).max().item()
    assert share <= tolerance, f"{said} is off by {share:.1e} {of}, allowed are {tolerance:.1e}"
    _note(method, quantity, share, tolerance, of, str(ours.dtype))


def same(method: str, quantity: str, ours: Tensor, theirs: Tensor, name: str = "") -> None:
    """Asserts that both are equal in every bit, and notes it."""
    assert torch.equal(ours, theirs), f"{method}: {quantity} {name} differs in {int((ours != theirs).sum())} entries"
    _note(method, quantity, 0.0, 0.0, ABSOLUTE, str(ours.dtype))


def _note(method: str, quantity: str, error: float, tolerance: float, of: str, dtype: str) -> None:
    test = os.environ.get("PYTEST_CURRENT_TEST", "").split("[")[0].split(" ")[0]
    COMPARISONS.append(Comparison(method, quantity, error, tolerance, of, dtype.removeprefix("torch."), test))
