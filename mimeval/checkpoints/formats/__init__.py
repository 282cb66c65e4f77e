"""The families of checkpoints that are known, one file each, and which of them a file belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from mimeval.checkpoints.state import Checkpoint
from mimeval.errors import UserError

from .base import Architecture, Family, State
from .mae import MAE
from .own import Own

# Own names are the more special ones.
FAMILIES: tuple[Family, ...] = (Own(), MAE())
# What DistributedDataParallel and torch.compile put before every name.
WRAPPER_PREFIXES = ("module.", "_orig_mod.")


@dataclass
class Recognised:
    """A checkpoint's state dict under names that its family knows, and how it was taken from the file."""

    family: Family
    container: str
    state: State
    architecture: Architecture
    transformations: list[str]


def recognise(checkpoint: Checkpoint) -> Recognised:
    """Which family a checkpoint belongs to, by the names and shapes in it. UserError if to none."""
    for family in FAMILIES:
        for container in family.containers:
            state, notes = _unwrap(checkpoint.states.get(container, {}))
            if state and family.recognises(state):
                state = family.read(state)
                return Recognised(family, container, state, family.architecture(state, checkpoint.meta), notes)
    names = ", ".join(list(checkpoint.state)[:4])
    known = ", ".join(sorted(family.name for family in FAMILIES))
    raise UserError(
        f"{checkpoint.path}: none of its {len(checkpoint.state)} tensors fits a backbone: "
        f"the families that are known are {known}, and the names in the file begin with {names}."
    )


def _unwrap(state: State) -> tuple[State, list[str]]:
    notes = []
    for prefix in WRAPPER_PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
            notes.append(f"prefix {prefix} taken off")
    return state, notes


def family_named(name: str) -> Family:
    """The family of this name. UserError if there is none."""
    for family in FAMILIES:
        if family.name == name:
            return family
    known = ", ".join(sorted(family.name for family in FAMILIES))
    raise UserError(f"There is no checkpoint family {name!r}; choose one of {known}.")
