"""RAUC: how soon a method's accuracy reaches a baseline's, from both curves over epochs (MTO, 2404.08330).

The paper's formula is not known here: these are two readings of its name, neither of them verified.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mimeval.errors import UserError

LABEL = "unverified readings of the paper's name, not its formula"
COLUMNS = ("epoch", "accuracy")


@dataclass(frozen=True)
class Rauc:
    """Of a method against a baseline, lower is better.

    Attributes:
        lag: area by which the method lies below the baseline, over the area below the baseline: 0 if it never does.
        deficit: area by which the method lies below the baseline's last accuracy, over the same area of the baseline itself:
            1 if as slow as it, 0 if there from the first epoch; None where the baseline never lies below its last.
        first, last: epochs that both curves cover, between which areas are taken; curves are straight between points.
        reached: the first epoch at which the method has the baseline's last accuracy, None if never.
    """

    lag: float
    deficit: float | None
    first: float
    last: float
    baseline_accuracy: float
    baseline_epoch: float
    reached: float | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with the label of the definitions."""
        return {"metric": "RAUC", "definition": LABEL, **vars(self)}


def read_curve(path: str | Path) -> np.ndarray:
    """[n, 2] of epoch and accuracy, rising epochs, from a CSV file with these two columns (others are ignored).

    Raises:
        UserError: no such file or columns, a value that is no number, fewer than two epochs, or an epoch twice.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError) as error:
        raise UserError(f"curve {path}: expected a CSV file, found {error}; correct the path.") from None
    if lacking := [name for name in COLUMNS if rows and name not in rows[0]]:
        raise UserError(f"curve {path}: expected the columns epoch and accuracy, found no {lacking[0]}; name them so.")
    try:
        curve = np.array([[float(row[name]) for name in COLUMNS] for row in rows])
    except (TypeError, ValueError) as error:
        raise UserError(f"curve {path}: expected numbers in epoch and accuracy, found {error}; correct it.") from None
    if len(curve) < 2 or not np.isfinite(curve).all():
        raise UserError(
            f"curve {path}: expected two or more epochs with finite accuracies, found {len(curve)}; add them."
        )
    curve = curve[curve[:, 0].argsort()]
    if (repeated := np.diff(curve[:, 0]) == 0).any():
        epoch = curve[1:][repeated][0, 0]
        raise UserError(f"curve {path}: expected one accuracy for an epoch, found two for {epoch:g}; remove one.")
    return curve


def area_above(reference: np.ndarray, values: np.ndarray, epochs: np.ndarray) -> float:
    """The area where the line through `values` lies below that through `reference`, both given at `epochs`."""
    gap = reference - values
    before, after, width = gap[:-1], gap[1:], np.diff(epochs)
    low, high = np.minimum(before, after), np.maximum(before, after)
    # A gap that changes sign counts as the triangle above zero.
    crossing = (low < 0) & (high > 0)
    triangle = np.divide(high**2, 2 * (high - low), out=np.zeros_like(high), where=crossing)
    return float((np.where(crossing, triangle, np.maximum(before + after, 0) / 2) * width).sum())


def rauc(baseline: np.ndarray, method: np.ndarray) -> Rauc:
    """Both readings for two curves [n, 2] of epoch and accuracy.

    Raises:
        UserError: the curves have no two epochs in common.
    """
    first, last = max(baseline[0, 0], method[0, 0]), min(baseline[-1, 0], method[-1, 0])
    if not first < last:
        raise UserError(
            f"RAUC needs epochs that both curves cover, found {baseline[0, 0]:g} to {baseline[-1, 0]:g} and "
            f"{method[0, 0]:g} to {method[-1, 0]:g}; measure both over the same epochs."
        )
    goal, goal_epoch = float(baseline[-1, 1]), float(baseline[-1, 0])
    inside = [curve[(curve[:, 0] > first) & (curve[:, 0] < last), 0] for curve in (baseline, method)]
    epochs = np.unique(np.concatenate([[first, last], *inside]))
    b, m = (np.interp(epochs, curve[:, 0], curve[:, 1]) for curve in (baseline, method))
    own = area_above(np.full_like(b, goal), b, epochs)
    deficit = area_above(np.full_like(m, goal), m, epochs) / own if own > 0 else None
    if not (whole := area_above(b, np.zeros_like(b), epochs)) > 0:
        raise UserError("RAUC needs a baseline with an accuracy above 0, found none; correct its curve.")
    return Rauc(
        area_above(b, m, epochs) / whole, deficit, float(first), float(last), goal, goal_epoch, _reached(method, goal)
    )


def _reached(curve: np.ndarray, goal: float) -> float | None:
    at = np.flatnonzero(curve[:, 1] >= goal)
    if not len(at):
        return None
    if at[0] == 0:
        return float(curve[0, 0])
    (e0, a0), (e1, a1) = curve[at[0] - 1], curve[at[0]]
    return float(e0 + (goal - a0) / (a1 - a0) * (e1 - e0))


def summary(found: Rauc) -> str:
    """What a person wants to know of it."""
    deficit = "undefined (the baseline never lies below its last)" if found.deficit is None else f"{found.deficit:.4f}"
    reached = "never" if found.reached is None else f"at epoch {found.reached:.4g}"
    return (
        f"RAUC  ({LABEL}; epochs {found.first:g} to {found.last:g})\n"
        f"lag      {found.lag:.4f}  area below the baseline over the baseline's own; 0: never below it\n"
        f"deficit  {deficit}  area below the baseline's last accuracy over the baseline's own; 1: as slow as it\n"
        f"the baseline's {found.baseline_accuracy:g} of epoch {found.baseline_epoch:g} is reached {reached}"
    )
