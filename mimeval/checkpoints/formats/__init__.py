"""The families of checkpoints that are known, one file each, and which of them a file belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mimeval.checkpoints.state import Checkpoint
from mimeval.errors import UserError

from .architecture import Architecture, State
from .base import Family, encoder_of
from .clustermim import ClusterMIM
from .localmim import LocalMIM, LocalMIMSwin
from .mae import MAE
from .maskfeat import MaskFeat, MViT
from .own import Own
from .simmim import SimMIM

FAMILIES: tuple[Family, ...] = (
    Own(),
    MAE(),
    ClusterMIM(),
    SimMIM(),
    LocalMIM(),
    LocalMIMSwin(),
    MaskFeat(),
    MViT(),
)
# What DistributedDataParallel, torch.compile and FSDP put before every name.
WRAPPER_PREFIXES = ("module.", "_orig_mod.", "_fsdp_wrapped_module.")


@dataclass
class Recognised:
    """A checkpoint's state dict under the file's names and under ours, and how it was taken from the file."""

    family: Family
    container: str
    state: State
    """By the file's names, without what wrappers put before them."""
    own: State
    """By our names, in our layout; what has none is not in it."""
    origin: dict[str, str]
    """Own name -> name in the file, where there is one."""
    architecture: Architecture
    transformations: list[str]
    meta: dict[str, Any] = field(default_factory=dict)
    switches: dict[str, str] = field(default_factory=dict)

    @property
    def encoder(self) -> State:
        """The encoder's tensors by own name without `backbone.`."""
        return encoder_of(self.own)


def recognise(checkpoint: Checkpoint, switches: Mapping[str, str] | Sequence[str] = ()) -> Recognised:
    """Which family a checkpoint belongs to, by the names and shapes in it. UserError if to none.

    switches: NAME=VALUE choices that the family offers (Family.choices), or a mapping of them.
    """
    chosen = dict(switches) if isinstance(switches, Mapping) else parse_switches(switches)
    for family in FAMILIES:
        for container in _containers(family, chosen):
            state, notes = unwrap(checkpoint.states.get(container, {}))
            if state and family.recognises(state, container):
                _check_switches(checkpoint, family, chosen)
                try:
                    own, origin, said = family.read(state, chosen)
                    architecture = family.architecture(own, checkpoint.meta)
                except UserError as error:
                    raise UserError(f"{checkpoint.path} (family {family.name}): {error}") from None
                notes += said + [f"{name}={value}, as asked" for name, value in chosen.items()]
                return Recognised(
                    family, container, state, own, origin, architecture, notes, checkpoint.meta, dict(chosen)
                )
    names = ", ".join(list(checkpoint.state)[:4])
    known = ", ".join(sorted(family.name for family in FAMILIES))
    raise UserError(
        f"{checkpoint.path}: none of its {len(checkpoint.state)} tensors fits a backbone: "
        f"the families that are known are {known}, and the names in the file begin with {names}."
    )


def families_of(checkpoint: Checkpoint) -> list[tuple[Family, str]]:
    """Every family that recognises a file, with the container; one, or the families are not told apart."""
    found = []
    for family in FAMILIES:
        for container in family.containers:
            state, _ = unwrap(checkpoint.states.get(container, {}))
            if state and family.recognises(state, container):
                found.append((family, container))
                break
    return found


def parse_switches(switches: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` strings as a mapping. UserError for other strings."""
    parsed = {}
    for switch in switches:
        name, equals, value = switch.partition("=")
        if not equals or not name:
            raise UserError(
                f"The switch {switch!r} is not understood: write NAME=VALUE, for example 'positions=bicubic'."
            )
        parsed[name] = value
    return parsed


def _containers(family: Family, switches: Mapping[str, str]) -> tuple[str, ...]:
    wanted = switches.get("container")
    return family.containers if wanted is None else tuple(key for key in family.containers if key == wanted)


def _check_switches(checkpoint: Checkpoint, family: Family, switches: Mapping[str, str]) -> None:
    choices = family.choices()
    for name, value in switches.items():
        if value not in choices.get(name, ()):
            offered = "; ".join(f"{key}={' or '.join(values)}" for key, values in choices.items())
            raise UserError(
                f"{checkpoint.path} (family {family.name}) has no switch {name}={value}; choose from {offered}."
            )


def unwrap(state: State) -> tuple[State, list[str]]:
    """A state dict without the prefixes that wrappers put before every name, and a sentence for each."""
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
