"""Which family a file that belongs to none comes nearest to, and what stands in the way."""

from __future__ import annotations

from .containers import unwrap
from .formats import FAMILIES
from .formats.architecture import State
from .formats.base import Family, matches
from .state import Checkpoint

SHOWN = 3
OTHERWISE = "its names alone do not make it one"


def nearest(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    """(family, why not), the nearest first; those with nothing in common are left out."""
    found: list[tuple[float, str, str]] = []
    for family in FAMILIES:
        best = max(
            (_distance(family, unwrap(state)[0], container) for container, state in checkpoint.states.items()),
            key=lambda pair: pair[0],
            default=(0.0, ""),
        )
        if best[0] > 0:
            found.append((best[0], family.name, best[1]))
    found.sort(key=lambda entry: (entry[2] == OTHERWISE, -entry[0]))  # a reason that can be named is worth more
    return [(name, why) for _, name, why in found[:SHOWN]]


def _distance(family: Family, state: State, container: str) -> tuple[float, str]:
    """How much of a family's names a state dict has, 0 to 1, and why it is not one of its files."""
    known = sum(family.own_name(name) is not None for name in state) / max(len(state), 1)
    lacks = [pattern for pattern in family.signature if not any(matches(name, (pattern,)) for name in state)]
    foreign = [name for name in state if matches(name, family.foreign)]
    share = (len(family.signature) - len(lacks)) / max(len(family.signature), 1)
    if not share:
        return 0.0, ""
    reasons = [f"it has no {pattern}" for pattern in lacks[:2]]
    if foreign:
        reasons.append(f"it has {foreign[0]}, which no file of this family has")
    if container not in family.containers:
        names = " or ".join(key or "the file itself" for key in family.containers)
        reasons.append(f"its tensors lie under {container or 'the file itself'}, not under {names}")
    closeness = share * known / (1 + len(foreign) / max(len(state), 1))
    return closeness, "; ".join(reasons) or OTHERWISE
