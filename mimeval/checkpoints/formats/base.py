"""What a family of checkpoints is: how to know its files, how its names are called here, what they may lack and leave.

A family is data; one file each. A file is read in three steps, each reversible: its names become own names (`renames`), listed
transformations bring its tensors to our layout (`steps`), and what shapes do not tell is added (`facts`). Own names are those of
this project's models: `backbone.*`, `encoding.*`, `decoders.<level>.*`, `head.*`. What depends on the backbone that a checkpoint
is loaded into, such as positions at another image size, is in fit.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mimeval.backbones.positions import POSITION_WAYS, TABLE_WAYS

from .architecture import Architecture, Grid, State, read_architecture
from .stored import backbone_config, stored_grid, stored_heads, stored_preprocessor
from .transform import Step

__all__ = ["DOWNSTREAM", "FRESH_FC_NORM", "Absence", "Architecture", "Family", "Grid", "State", "matches", "rename"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Absence:
    """Encoder names, by pattern, that a file may lack, all of them together, and why; `given` must be in it then."""

    pattern: str
    reason: str
    given: str | None = None


# What the backbone's config adds for a task and no pre-training has.
DOWNSTREAM = (
    Absence("blocks.*.attn.rel_pos_[hw]", "decomposed relative positions start at zero"),
    Absence("blocks.*.attn.relative_position_bias_table", "relative position biases start at zero"),
    Absence("rel_pos_bias.*", "the shared relative position bias starts at zero"),
    Absence("blocks.*.ls[12].gamma", "layer scale starts at init_values"),
    Absence("tap_norms.*", "the norms of the taps are new"),
)
FRESH_FC_NORM = Absence("fc_norm.*", "fine-tuning on the mean of the patches starts a new fc_norm", given="norm.weight")
# The same where pre-training ends in the norms of its taps.
FRESH_FC_NORM_AFTER_TAPS = Absence("fc_norm.*", FRESH_FC_NORM.reason)
PRETRAINING = "pre-training only"
BUFFER = "a buffer, computed anew"


class Family:
    """The contract. Patterns are shell patterns over whole names; in `renames` `*` is any text and `#` a number, the same on
    both sides."""

    name: str
    containers: tuple[str, ...]
    """Keys of the file to look under, the best first; '' is the file itself. Another one of them: switch `container`."""
    signature: tuple[str, ...]
    """Patterns that every file of the family matches."""
    foreign: tuple[str, ...] = ()
    """Patterns that none matches."""
    renames: tuple[tuple[str, str], ...]
    """(name in the file, own name), read in both directions; the first that fits counts."""
    steps: tuple[Step, ...] = ()
    """Transformations on own names, in the order of reading."""
    may_lack: tuple[Absence, ...] = (FRESH_FC_NORM, *DOWNSTREAM)
    """Encoder tensors, by own name without `backbone.`, that may keep their initial values."""
    may_leave: tuple[tuple[str, str], ...] = ()
    """(pattern, reason) of the file's tensors, by the file's name or ours, that a backbone need not take."""
    facts: Mapping[str, Any] = {}
    """Fields of the Architecture that shapes do not tell: norm_eps, k_bias, pos_resample, table_resample, ..."""
    heads_by_width: Mapping[int, int] = {}
    """Heads by the family's own code, where they are not 64 wide."""
    switches: Mapping[str, tuple[str, ...]] = {}
    """Choices beside the common ones (container, positions, tables), with their values; the first is the default."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    """Of the images in pre-training, values 0..1, RGB."""
    writable = False
    """Whether `convert --to` offers it."""
    written_as = ""
    """Of a family that is not: the one in whose layout its files are written, every tensor of them."""
    drops: tuple[str, ...] = ()
    """Encoder names, by pattern, that files of the family end without: norms, where a segmentor reads maps before them."""
    takes_taps = False
    """Whether its files have a norm for each tap."""
    group = ""
    """Name under which `convert --to` chooses among several layouts of one library."""
    package = ""
    """The package that has a class of this layout."""

    def recognises(self, state: State, container: str = "") -> bool:
        """Whether a state dict is of this family; by names and shapes alone, and the key that it lies under."""
        return all(any(matches(name, (pattern,)) for name in state) for pattern in self.signature) and not any(
            matches(name, self.foreign) for name in state
        )

    def own_name(self, name: str) -> str | None:
        """Our name of a tensor in the file, None for one that has none."""
        return rename(name, self.renames)

    def their_name(self, name: str) -> str | None:
        """The family's name of a tensor of ours, None for one that its files cannot hold."""
        theirs = rename(name, tuple((own, theirs) for theirs, own in self.renames))
        return None if theirs is None or matches(theirs, self.foreign) else theirs

    def steps_to_write(self, own: State) -> tuple[Step, ...]:
        """The transformations whose inverse brings an own state to the family's layout."""
        return self.steps

    def switched(self, switches: Mapping[str, str]) -> Family:
        """The family with these choices made; its name stays the same."""
        return self

    def read(self, state: State) -> tuple[State, dict[str, str], list[str]]:
        """The file's state dict under own names and in our layout, the file's name of each tensor that has one, and a sentence for
        each transformation. Tensors without an own name are left out."""
        own, origin = {}, {}
        for theirs, tensor in state.items():
            if name := self.own_name(theirs):
                own[name], origin[name] = tensor, theirs
        notes = [note for step in self.steps if (note := step.read(own))]
        return own, {name: theirs for name, theirs in origin.items() if name in own}, notes

    def write(self, own: State) -> tuple[State, list[str]]:
        """The inverse of `read`: own names to the family's; also the own names that it has no place for."""
        own = dict(own)
        for step in reversed(self.steps_to_write(own)):
            step.write(own)
        names = {name: self.their_name(name) for name in own}
        state = {theirs: own[name] for name, theirs in names.items() if theirs is not None}
        return state, [name for name, theirs in names.items() if theirs is None]

    def complete(self, own: State, architecture: Architecture) -> tuple[State, list[str]]:
        """An own state of another family with what all files of this one have besides, and a sentence for what was added."""
        return own, []

    def reason_to_leave(self, name: str, own: str | None = None) -> str | None:
        """Why a backbone need not take this tensor of the file (own: our name of it), None if it must."""
        for pattern, reason in self.may_leave:
            if fnmatchcase(name, pattern) or (own is not None and fnmatchcase(own, pattern)):
                return reason
        return None

    def architecture(self, own: State, meta: dict[str, Any]) -> Architecture:
        """The architecture of a state after `read`; `meta` is what else the file holds."""
        architecture = read_architecture(encoder_of(own), stored_heads(meta), stored_grid(meta))
        facts = {key: value for key, value in self.facts.items() if hasattr(architecture, key)}
        width = architecture.embed_dim
        if architecture.kind == "vit" and not architecture.heads_are_stored and width in self.heads_by_width:
            facts.update(num_heads=self.heads_by_width[width], heads_are_stored=True)  # type: ignore[index]
        if architecture.final_norm is None and "encoding.tap_norms.0.weight" in own:
            facts["final_norm"] = "tap"
        embed = own.get("decoders.0.embed.weight")
        blocks = {int(found[1]) for name in own if (found := re.match(r"decoders\.0\.blocks\.(\d+)\.", name))}
        decoder_dim = None if embed is None else len(embed)
        return replace(architecture, decoder_dim=decoder_dim, decoder_depth=len(blocks), **facts)

    def told(self, state: State) -> dict[str, Any]:
        """Fields of the Architecture that only tensors without an own name tell, such as buffers, of the file's state."""
        return {}

    def last_norm(self, own: State, meta: dict[str, Any]) -> str | None:
        """Own name, without `.weight`, of the norm that pre-training applied to the last block's tokens where that is no `norm`."""
        for owner in ("backbone", "encoding"):
            names = sorted(n for n in own if re.fullmatch(rf"{owner}\.tap_norms\.\d+\.weight", n))
            if names:
                return last_tap(owner, names, own, backbone_config(meta))
        return None

    def normalisation(self, meta: dict[str, Any]) -> Normalisation:
        """Mean and std of the images in pre-training, values 0..1, RGB: a runner's config tells, else the family."""
        return three_each(*stored_preprocessor(meta)) or (self.mean, self.std)

    def beside(self, path: Path) -> dict[str, Any]:
        """What stands beside a file of the family in its folder and tells what shapes do not; added to its meta."""
        return {}

    def choices(self) -> dict[str, tuple[str, ...]]:
        """All switches and their values."""
        ways = {"container": self.containers, "positions": POSITION_WAYS, "tables": TABLE_WAYS}
        return {**ways, **self.switches}


def last_tap(owner: str, names: list[str], own: State, config: dict[str, Any]) -> str | None:
    """The tap norm that belongs to the last block: the file's config tells; without one, the last, as in every method here."""
    index = max(int(name.split(".")[2]) for name in names)
    taps = config.get("taps")
    if owner == "backbone" and isinstance(taps, list | tuple) and taps:
        depth = read_architecture(encoder_of(own)).as_dict().get("depth") or 0
        last = [k for k, tap in enumerate(taps) if isinstance(tap, int) and tap % depth == depth - 1] if depth else []
        return f"{owner}.tap_norms.{last[0]}" if last else None
    return f"{owner}.tap_norms.{index}"


def encoder_of(own: State) -> State:
    """The encoder's tensors by own name without `backbone.`."""
    return {n.removeprefix("backbone."): tensor for n, tensor in own.items() if n.startswith("backbone.")}


def three_each(mean: Any, std: Any) -> Normalisation | None:
    """Mean and std that a file states, None where it states none that are three numbers each."""
    given = []
    for values in (mean, std):
        if not isinstance(values, list | tuple) or len(values) != 3:
            return None
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
            return None
        given.append(tuple(float(value) for value in values))
    return (given[0], given[1]) if all(value > 0 for value in given[1]) else None


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def rename(name: str, table: tuple[tuple[str, str], ...]) -> str | None:
    """A name by the first row of a table that fits; `*` is any text, `#` a number."""
    for source, target in table:
        found = re.fullmatch(re.escape(source).replace(r"\*", "(.+?)").replace(r"\#", r"(\d+)"), name)
        if found:
            return re.sub(r"[*#]", "{}", target).format(*found.groups())
    return None
