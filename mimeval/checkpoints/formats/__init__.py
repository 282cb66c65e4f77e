"""The families of checkpoints that are known, one file each, and which of them a file belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from mimeval.checkpoints.containers import choice, unwrap
from mimeval.checkpoints.state import Checkpoint
from mimeval.errors import UserError

from .architecture import Architecture, State
from .base import Family, Normalisation, encoder_of, three_each
from .beit import BEiT, BEiTv2
from .cae import CAE
from .clustermim import ClusterMIM
from .data2vec import Data2Vec
from .deit import DeiT
from .dino import DINO
from .dinov2 import DINOv2
from .dinov3 import DINOv3, HFDINOv3, TimmDINOv3
from .eva import EVA02, TimmEVA02
from .hf_dinov2 import HFDINOv2
from .hf_swin import HFSwin
from .huggingface import HFViT, HFViTMAE
from .ibot import IBOT
from .ijepa import IJEPA
from .localmim import LocalMIM, LocalMIMSwin
from .mae import MAE
from .maskfeat import MaskFeat, MViT
from .mm_swin import MMPretrainSwin, MMSegSwin
from .mmpretrain import MMPretrainBEiT, MMPretrainBEiTv2, MMPretrainViT
from .mmseg import MMSegBEiT, MMSegMAE, MMSegViT
from .mocov3 import MoCoV3
from .own import Own
from .simmim import SimMIM
from .stored import header, stored_normalisation
from .timm import OfficialSwin, TimmSwin, TimmViT
from .vitdet import MMDetViTDet, ViTDet

FAMILIES: tuple[Family, ...] = (
    Own(),
    MAE(),
    ClusterMIM(),
    SimMIM(),
    LocalMIM(),
    LocalMIMSwin(),
    MaskFeat(),
    MViT(),
    BEiT(),
    BEiTv2(),
    Data2Vec(),
    CAE(),
    EVA02(),
    DINO(),
    DINOv2(),
    DINOv3(),
    IBOT(),
    MoCoV3(),
    IJEPA(),
    DeiT(),
    TimmViT(),
    TimmSwin(),
    TimmEVA02(),
    TimmDINOv3(),
    OfficialSwin(),
    HFViT(),
    HFViTMAE(),
    HFDINOv2(),
    HFDINOv3(),
    HFSwin(),
    MMPretrainViT(),
    MMPretrainBEiT(),
    MMPretrainBEiTv2(),
    MMPretrainSwin(),
    MMSegViT(),
    MMSegMAE(),
    MMSegBEiT(),
    MMSegSwin(),
    ViTDet(),
    MMDetViTDet(),
)


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

    @property
    def normalisation(self) -> Normalisation:
        """Mean and std of the images in pre-training: as a conversion noted them, else of the family that the weights came from."""
        noted = three_each(*stored_normalisation(self.meta))
        first = next((one for one in FAMILIES if one.name == header(self.meta).get("family")), self.family)
        return noted or first.normalisation(self.meta)


def recognise(checkpoint: Checkpoint, switches: Mapping[str, str] | Sequence[str] = ()) -> Recognised:
    """Which family a checkpoint belongs to, by the names and shapes in it. UserError if to none.

    switches: NAME=VALUE choices that the family offers (Family.choices), or a mapping of them.
    """
    chosen = dict(switches) if isinstance(switches, Mapping) else parse_switches(switches)
    if chosen.get("container", checkpoint.container) not in checkpoint.states:
        there = ", ".join(key or "'' (the file itself)" for key in checkpoint.states)
        raise UserError(
            f"{checkpoint.path}: expected weights under container={chosen['container']}, found {there}; name one of these."
        )
    for family in FAMILIES:
        for container in _containers(family, chosen):
            state, notes = unwrap(checkpoint.states.get(container, {}))
            if state and _recognises(family, state, container):
                _check_switches(checkpoint, family, chosen)
                family = family.switched(chosen)
                with blamed(checkpoint.path, family):
                    own, origin, said = family.read(state)
                    meta = {**checkpoint.meta, **family.beside(checkpoint.path)}
                    architecture = replace(family.architecture(own, meta), **family.told(state))
                notes += said + [f"{name}={value}, as asked" for name, value in chosen.items()]
                if "container" not in chosen:
                    notes += choice(checkpoint.states, container)
                return Recognised(family, container, state, own, origin, architecture, notes, meta, dict(chosen))
    names = ", ".join(list(checkpoint.state)[:4])
    known = ", ".join(sorted(family.name for family in FAMILIES))
    raise UserError(
        f"{checkpoint.path}: none of its {len(checkpoint.state)} tensors fits a backbone: "
        f"the families that are known are {known}, and the names in the file begin with {names}."
    )


# What a family's code raises where a file has its names and other shapes.
OTHER_SHAPES = (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError, AttributeError, AssertionError)


@contextmanager
def blamed(path: Any, family: Family) -> Iterator[None]:
    """Errors of a family's code are the file's, and name it."""
    try:
        with other_shapes_blamed(path, family):
            yield
    except UserError as error:
        named = str(error).startswith(str(path))
        raise UserError(str(error) if named else f"{path} (family {family.name}): {error}") from error.__cause__


@contextmanager
def other_shapes_blamed(path: Any, family: Family) -> Iterator[None]:
    """A file may hold anything under a family's names, and shapes are not asked one by one: what fails for them is a UserError."""
    try:
        yield
    except OTHER_SHAPES as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(
            f"{path} (family {family.name}): expected the shapes of this family, found others under its names ({reason}); look at "
            "them with `mimeval inspect`."
        ) from error


def _recognises(family: Family, state: State, container: str) -> bool:
    try:
        return family.recognises(state, container)
    except OTHER_SHAPES:
        return False


def families_of(checkpoint: Checkpoint) -> list[tuple[Family, str]]:
    """Every family that recognises a file, with the container; one, or the families are not told apart."""
    found = []
    for family in FAMILIES:
        for container in family.containers:
            state, _ = unwrap(checkpoint.states.get(container, {}))
            if state and _recognises(family, state, container):
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
    return family.containers if wanted is None else (wanted,)


def _check_switches(checkpoint: Checkpoint, family: Family, switches: Mapping[str, str]) -> None:
    choices = {**family.choices(), "container": tuple(checkpoint.states)}
    for name, value in switches.items():
        if value not in choices.get(name, ()):
            offered = "; ".join(f"{key}={' or '.join(values)}" for key, values in choices.items())
            raise UserError(
                f"{checkpoint.path} (family {family.name}) has no switch {name}={value}; choose from {offered}."
            )


def family_named(name: str) -> Family:
    """The family of this name. UserError if there is none."""
    for family in FAMILIES:
        if family.name == name:
            return family
    known = ", ".join(sorted(family.name for family in FAMILIES))
    raise UserError(f"There is no checkpoint family {name!r}; choose one of {known}.")
