"""Which layout `convert --to` means: a family by name, or of a library's several layouts the one that holds most."""

from __future__ import annotations

import os

from mimeval.errors import UserError

from .formats import FAMILIES
from .formats.architecture import State
from .formats.base import Family, matches


def family_for(src: str | os.PathLike, to: str, own: State) -> Family:
    """The family to write an own state as. UserError if there is none of this name, or none of the group can hold the encoder."""
    for family in FAMILIES:
        if family.name == to and family.writable:
            return family
    group = [family for family in FAMILIES if family.group == to and family.writable]
    if not group:
        known = sorted({name for family in FAMILIES if family.writable for name in (family.name, family.group) if name})
        raise UserError(f"There is no format {to!r} to convert to; choose one of {', '.join(known)}.")
    reasons: dict[str, str] = {}
    best: tuple[int, Family] | None = None
    for family in group:
        try:
            state, homeless = family.write(own)
            check_holds(src, family, state, homeless)
        except UserError as error:
            reasons[family.name] = str(error)
            continue
        if best is None or len(homeless) < best[0]:
            best = len(homeless), family
    if best is None:
        # The layout whose shape it is says best what is in the way: it has a name for the most tensors.
        name = max(group, key=lambda family: sum(family.their_name(name) is not None for name in own)).name
        raise UserError(reasons[name])
    return best[1]


def check_holds(src: str | os.PathLike, family: Family, state: State, homeless: list[str]) -> None:
    """UserError where a written state lacks a tensor of the encoder, or what all files of the family have."""
    needed = [name for name in homeless if name.startswith("backbone.")]
    if needed:
        raise UserError(
            f"{src}: the format {family.name} has no place for {len(needed)} tensors of the encoder ({', '.join(needed[:4])}), "
            "without which its features would change; convert to mimeval instead."
        )
    lacking = [pattern for pattern in family.signature if not any(matches(name, (pattern,)) for name in state)]
    if lacking:
        raise UserError(
            f"{src}: all files of the format {family.name} have {lacking[0].lstrip('*')}, and this encoder has nothing that belongs "
            "there; convert to mimeval instead."
        )
