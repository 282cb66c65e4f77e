"""A checkpoint's encoder beside a backbone's tensors: what is missing, what is left over, and which of it is declared."""

from __future__ import annotations

import difflib
import re
from fnmatch import fnmatchcase

from .formats import Recognised
from .formats.architecture import State


def missing_tensors(found: Recognised, encoder: State, target: State) -> tuple[list[str], dict[str, str]]:
    """What the file lacks: an error, or declared by the family with its reason (as a whole group or not at all)."""
    missing, fresh = [], {}
    for name in (name for name in target if name not in encoder):
        for absence in found.family.may_lack:
            if not fnmatchcase(name, absence.pattern) or (absence.given and absence.given not in encoder):
                continue
            if not any(fnmatchcase(other, absence.pattern) for other in encoder):
                fresh[name] = absence.reason
                break
        else:
            missing.append(name)
    return missing, fresh


def unexpected_tensors(found: Recognised, target: State, used: set[str]) -> tuple[list[str], dict[str, str]]:
    """What the backbone does not take, by the file's names: an error, or declared by the family. used: see `Fitted`."""
    unexpected, left_over = [], {}
    nameless = {name: "" for name in found.state if found.family.own_name(name) is None}
    for name, own in {**nameless, **{found.origin.get(own, own): own for own in found.own}}.items():
        inner = own.removeprefix("backbone.")
        if (own.startswith("backbone.") and inner in target) or re.sub(r"\.(weight|bias)$", "", inner) in used:
            continue
        reason = found.family.reason_to_leave(name, own)
        if reason is None:
            unexpected.append(name)
        else:
            left_over[name] = reason
    return unexpected, left_over


def nearest_name(found: Recognised, name: str, target: State) -> str | None:
    """The file's name that comes nearest to a missing one, of those that nothing took and that has its shape; None if none is near."""
    taken = {found.origin.get(f"backbone.{own}") for own in target}
    candidates: dict[str, str] = {}
    for theirs, tensor in found.state.items():
        if theirs not in taken and tensor.shape == target[name].shape:
            candidates.setdefault((found.family.own_name(theirs) or theirs).removeprefix("backbone."), theirs)
    near = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    return candidates[near[0]] if near else None
