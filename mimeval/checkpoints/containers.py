"""Where in a file its state dicts lie, which of them is meant, and what training frameworks put before every name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

# The keys under which files keep a state dict, best first: official MAE, mmengine, SlowFast, DeepSpeed.
WRAPPERS = ("model", "state_dict", "model_state", "module")
# Of two networks in one file: the averaged ones, by which tools called them.
AVERAGES = ("ema_state_dict", "model_ema", "state_dict_ema", "ema", "model_ema_state_dict", "teacher", "target_encoder")
# Keys below which a state dict may lie one or two levels deeper.
NESTING = (*WRAPPERS, *AVERAGES, "student", "weights", "params", "checkpoint", "net", "network")
DEEPEST = 4
# What DistributedDataParallel and Lightning put before every name, and torch.compile, FSDP and activation
# checkpointing within names, too.
PREFIXES = ("module.", "model.", "net.", "network.")
INSIDE = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
T = TypeVar("T")


def find_states(content: dict, kinds: tuple[type, ...]) -> dict[str, dict[str, Any]]:
    """The dictionaries of named tensors (of these kinds) in a file: by key, nested ones as `model.module`, the best first.

    `''` is the file itself.
    """
    found: dict[str, dict[str, Any]] = {}

    def look(entries: dict, path: str, depth: int) -> None:
        tensors = {name: value for name, value in entries.items() if isinstance(name, str) and isinstance(value, kinds)}
        if tensors:
            found[path] = tensors
        for name, value in entries.items():
            # Below the top, only under names that say so: an optimiser has dictionaries of tensors, too.
            if isinstance(name, str) and isinstance(value, dict) and depth < DEEPEST and (not depth or name in NESTING):
                if depth == 0 or path.split(".")[0] in NESTING:
                    look(value, f"{path}.{name}" if path else name, depth + 1)

    look(content, "", 0)
    order = [key for wrapper in WRAPPERS for key in found if key == wrapper or key.startswith(f"{wrapper}.")]
    return {key: found[key] for key in dict.fromkeys([*order, *([""] if "" in found else []), *found])}


def alternatives(states: Mapping[str, Mapping[str, Any]], container: str) -> list[str]:
    """Other state dicts of the file that hold the same network: half of the smaller one's names or more, in the same shapes."""
    names = {key: _last_parts(state) for key, state in states.items()}
    own = names.get(container, set())
    return [
        key
        for key, others in names.items()
        if key != container and len(own & others) * 2 >= min(len(own), len(others)) > 1
    ]


def choice(states: Mapping[str, Mapping[str, Any]], container: str) -> list[str]:
    """One sentence if the weights could have been others of the same file; empty if not."""
    others = alternatives(states, container)
    if not others:
        return []
    named = ", ".join(f"{other or 'its own'} (--switch container={other})" for other in others)
    return [f"weights of {container or 'the file itself'} taken; the file also holds {named}"]


def _last_parts(state: Mapping[str, Any]) -> set[tuple]:
    # Two networks of one file may stand under different prefixes: backbone.blocks.0.norm1.weight, blocks.0.norm1.weight.
    names = _plain(list(state))[0]
    return {(".".join(name.split(".")[-4:]), *value.shape) for name, value in zip(names, state.values(), strict=True)}


def unwrap(state: dict[str, T]) -> tuple[dict[str, T], list[str]]:
    """A state dict without what frameworks put into its names, and one sentence for each thing taken off."""
    names, notes = _plain(list(state))
    return dict(zip(names, state.values(), strict=True)), notes


def _plain(names: list[str]) -> tuple[list[str], list[str]]:
    notes: list[str] = []
    changed = True
    while changed and names:
        changed = False
        for prefix in PREFIXES:
            # Lightning has other parts (a criterion, a metric) beside its `model.`.
            count = sum(name.startswith(prefix) for name in names)
            if count == len(names) or (prefix == "model." and count * 2 > len(names)):
                changed |= _replace(names, [name.removeprefix(prefix) for name in names], prefix, notes)
        for part in INSIDE:
            if any(name.startswith(part) or f".{part}" in name for name in names):
                shorter = [name.removeprefix(part).replace(f".{part}", ".") for name in names]
                changed |= _replace(names, shorter, part, notes)
    return names, notes


def _replace(names: list[str], shorter: list[str], what: str, notes: list[str]) -> bool:
    if len(set(shorter)) != len(names) or shorter == names or not all(shorter):
        return False  # two tensors would have one name
    names[:] = shorter
    note = f"prefix {what} taken off"
    if note not in notes:
        notes.append(note)
    return True
