"""A checkpoint's tensors in the layout that `convert --to` names: a family, or of a library's layouts the one that holds most."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from mimeval.errors import UserError

from .formats import FAMILIES, Recognised
from .formats.architecture import Architecture, State, ViT, read_architecture
from .formats.base import Family, encoder_of, matches


@dataclass
class Layout:
    """state: by the family's names. homeless: own names that it has no place for. architecture: of what is written.

    notes: what was done to the tensors beside the family's own steps.
    """

    family: Family
    state: State
    homeless: list[str]
    architecture: Any
    notes: list[str]


def laid_out(src: str | os.PathLike, to: str, found: Recognised, own: State, architecture: Architecture) -> Layout:
    """The own state of a checkpoint as `to`. UserError if there is no such format, or none of the group can hold the encoder."""
    group = [family for family in FAMILIES if family.name == to and family.writable]
    group = group or [family for family in FAMILIES if family.group == to and family.writable]
    if not group:
        known = sorted({name for family in FAMILIES if family.writable for name in (family.name, family.group) if name})
        raise UserError(f"There is no format {to!r} to convert to; choose one of {', '.join(known)}.")
    best: Layout | None = None
    reasons: dict[str, UserError] = {}
    for family in group:
        try:
            layout = _lay_out(src, family, found, own, architecture)
        except UserError as error:
            reasons[family.name] = error
            continue
        if best is None or len(layout.homeless) < len(best.homeless):
            best = layout
    if best is None:
        # The layout that has a name for the most tensors says best what is in the way.
        raise reasons[max(group, key=lambda family: sum(family.their_name(name) is not None for name in own)).name]
    return best


def _lay_out(
    src: str | os.PathLike, family: Family, found: Recognised, own: State, architecture: Architecture
) -> Layout:
    own, notes = _with_last_norm(family, found, own)
    own, added = family.complete(own, architecture)
    architecture = _as_written(own, architecture)
    try:
        state, homeless = family.write(own)
    except UserError as error:
        raise UserError(f"{src} cannot be written as {family.name}: {error}") from None
    left = [name for name in homeless if name.startswith("backbone.")]
    needed = [name for name in left if not matches(name, family.drops)]
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
    if left:
        notes.append(f"{', '.join(left)} left out: {family.name} ends without norm, in maps")
        architecture = replace(architecture, final_norm=None)
    return Layout(family, state, homeless, architecture, [*notes, *added])


def _with_last_norm(family: Family, found: Recognised, own: State) -> tuple[State, list[str]]:
    """Where a layout has no norms of taps: that of the last block is the final one, as when such a file is loaded (fit.py)."""
    taps = [name for name in own if ".tap_norms." in name]
    if not taps or family.takes_taps or "backbone.norm.weight" in own:
        return own, []
    source = found.family.last_norm(found.own, found.meta)
    if source is None or f"{source}.weight" not in own:
        return own, []
    kept = {name: tensor for name, tensor in own.items() if name not in taps}
    norm = {f"backbone.norm.{kind}": own[f"{source}.{kind}"] for kind in ("weight", "bias")}
    return {**kept, **norm}, [f"{source}, of the last block, taken for norm; norms of other taps left out"]


def _as_written(own: State, architecture: Architecture) -> Any:
    # What was added or moved is read from the tensors again; the rest may be known from elsewhere.
    now = read_architecture(encoder_of(own))
    if not isinstance(now, ViT) or not isinstance(architecture, ViT):
        return architecture
    kind = now.rel_pos if now.rel_pos in ("bias", "shared_bias") else architecture.rel_pos
    return replace(architecture, final_norm=now.final_norm, layer_scale=now.layer_scale, rel_pos=kind)
