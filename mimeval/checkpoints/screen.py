"""An Inspection for people: plain text, aligned, within a terminal's width."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from .inspect import Inspection
from .units import count_of, size

LABEL = 12
SHOWN_NAMES = 6
# Arguments that say what was trained come first; the rest follows in the file's order.
TELLING = (
    "epoch",
    "iter",
    "model",
    "arch",
    "config",
    "epochs",
    "max_epochs",
    "images_seen",
    "batch_size",
    "lr",
    "blr",
    "mask_ratio",
    "seed",
)
# Sections whose names are enough, and sections whose names say nothing.
CLOSED = ("optimizer", "message_hub", "scaler", "optimizer_states", "hardware", "versions")
OPEN = ("args", "meta", "hyper_parameters", "training")
MOST_BESIDE = 400
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def render(found: Inspection, width: int = 96) -> str:
    """The screen of `mimeval inspect`."""
    width = max(60, min(width, 100))
    rows = [*_file(found), *_weights(found), *_model(found), *_training(found), *_health(found), *_loading(found)]
    lines = [found.path]
    for label, text in rows:
        lines += _row(label, text, width)
    if found.keys:
        lines += ["", f"keys of {found.container or 'the file itself'}", *_keys(found, width)]
    if found.command:
        lines += ["", "next", f"  {found.command}"]
        remark = f"({found.remark})" if found.remark else ""
        lines += textwrap.wrap(remark, width, initial_indent="  ", subsequent_indent="   ", break_on_hyphens=False)
    return "\n".join(lines)


def _row(label: str, text: str, width: int) -> list[str]:
    space = " " * (LABEL + 2)
    return textwrap.wrap(
        text, width, initial_indent=f"  {label:<{LABEL}}", subsequent_indent=space, break_on_hyphens=False
    ) or [f"  {label}"]


Rows = Iterator[tuple[str, str]]


def _file(found: Inspection) -> Rows:
    yield "file", f"{found.format}, {size(found.bytes)}" + (f", sha256 {found.sha256}" if found.sha256 else "")
    if found.unlisted:
        names = ", ".join(found.unlisted[:8]) + _more(found.unlisted, 8)
        yield (
            "code",
            f"YES: it calls for {names}; nothing of it was run, and other verbs refuse it without --trust-pickle",
        )
    elif found.globals:
        yield "code", f"none: it calls for {_count(len(found.globals), 'name')}, all of them on the list of plain types"
    else:
        yield "code", "none: the format cannot hold any"


def _weights(found: Inspection) -> Rows:
    if not found.containers:
        yield "weights", found.reason or "none"
        return
    for name in sorted(found.containers, key=lambda key: key != found.container):
        facts, chosen = found.containers[name], name == found.container
        dtypes = facts["dtypes"]
        kinds = ", ".join(f"{kind} ({count})" if len(dtypes) > 1 else kind for kind, count in dtypes.items())
        if chosen:
            mark = ", described here and taken by other verbs" if found.alternatives else ""
        else:
            mark = f" (--switch container={name})" if name in found.alternatives else " (not used)"
        what = f"{_count(facts['tensors'], 'tensor')}, {count_of(facts['values'])} values, {kinds}{mark}"
        yield "weights" if chosen else "", f"{name or 'the file itself'}: {what}"


def _model(found: Inspection) -> Rows:
    if not found.containers:
        return
    if found.family is None:
        yield "family", f"unknown: {found.reason}"
        for number, (name, why) in enumerate(found.nearest):
            yield "" if number else "nearest", f"{name}, but {why}"
        if not found.nearest:
            yield "nearest", "none: no family has any of these names"
        return
    reason = found.reason.removeprefix(f"{found.path} (family {found.family}): ")
    yield "family", found.family + (f": {reason}" if reason else "")
    if found.architecture is not None:
        yield "model", _architecture(found)
        numbers = [" ".join(f"{value:g}" for value in values or ()) for values in (found.mean, found.std)]
        yield "images", f"normalised with mean {numbers[0]}, std {numbers[1]}"


def _architecture(found: Inspection) -> str:
    facts = found.architecture or {}
    parts = [found.model]
    heads = facts.get("num_heads")
    if isinstance(heads, int):
        parts.append(f"{heads} heads" + ("" if facts.get("heads_are_stored") else " by convention"))
    elif facts.get("kind") == "vit":
        parts.append("heads unknown (the file does not say)")
    if facts.get("patch_size") and facts.get("grid"):
        rows, columns = (side * facts["patch_size"] for side in facts["grid"])
        parts.append(f"images {rows}x{columns}")
    if facts.get("kind") == "vit":
        parts.append("class token" if facts.get("cls_token") else "no class token")
        parts += [] if facts.get("positions") else ["no absolute positions"]
    parts.append(f"ends in {facts['final_norm']}" if facts.get("final_norm") else "ends without norm")
    if facts.get("decoder_depth"):
        parts.append(f"decoder width {facts['decoder_dim']} depth {facts['decoder_depth']}")
    return ", ".join(parts)


def _training(found: Inspection) -> Rows:
    flat: dict[str, str] = {}
    for name, value in found.training.items():
        _flatten(name, value, flat)
    if not flat:
        return
    order = [name for key in TELLING for name in flat if name.split(".")[-1] == key]
    text = ", ".join(f"{name} {flat[name]}" for name in dict.fromkeys([*order, *flat]))
    yield (
        "beside",
        text if len(text) <= MOST_BESIDE else f"{text[:MOST_BESIDE].rpartition(', ')[0]} ... (--json shows all)",
    )


def _flatten(name: str, value: Any, into: dict[str, str]) -> None:
    if isinstance(value, dict) and name.split(".")[-1] in CLOSED:
        into[name] = f"({len(value)} entries)"
    elif isinstance(value, dict) and value:
        for key, part in value.items():
            _flatten(f"{name}.{key}" if name not in OPEN else key, part, into)
    else:
        text = " ".join(f"{value:.6g}".split() if isinstance(value, float) else str(value).split())
        into[name] = text if len(text) <= 60 else f"{text[:57]}..."


def _health(found: Inspection) -> Rows:
    health = found.health
    if health is None:
        return
    how = "all looked at" if health.deep else "sampled (--deep looks at all)"
    said = [f"NaN or infinite in {_names(health.infinite)}"] if health.infinite else ["finite"]
    if health.untrained:
        said.append(f"LOOKS UNTRAINED: {health.untrained}")
    else:
        said += [f"all zero: {_names(health.zero)}"] if health.zero else []
        said += [f"all the same: {_names(health.constant)}"] if health.constant else []
    yield "values", f"{how}: {'; '.join(said)}"


def _loading(found: Inspection) -> Rows:
    loading = found.loading
    if loading is None:
        return
    yield (
        "would load",
        f"{loading.loaded} of {loading.tensors} tensors of the backbone, {count_of(loading.parameters)} values"
        + ("" if loading.complete else "; NOT AS IT IS"),
    )
    for label, names in (
        ("missing", loading.missing),
        ("unexpected", loading.unexpected),
        ("other shape", loading.other_shape),
    ):
        if names:
            yield label, _names(names)
    if loading.near:
        yield "nearest", "; ".join(f"{theirs} for {name}" for name, theirs in loading.near.items())
    for label, reasons in (("fresh", loading.fresh), ("left over", loading.left_over)):
        if reasons:
            yield label, "; ".join(f"{_names(names)} ({why})" for why, names in _by_reason(reasons).items())
    if found.transformations:
        yield "changes", "; ".join(found.transformations)


def _by_reason(reasons: dict[str, str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, why in reasons.items():
        grouped.setdefault(why, []).append(name)
    return grouped


# Keys: one line for what repeats


def _keys(found: Inspection, width: int) -> list[str]:
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for key in found.keys:
        owner, rest = _split(key["name"])
        groups.setdefault(owner, {})[rest] = key
    merged: dict[tuple, list[str]] = {}
    for owner, keys in groups.items():
        pattern = re.sub(r"\d+(?=\D*$)", "#", owner)
        shapes = tuple((rest, tuple(key["shape"]), key["dtype"]) for rest, key in keys.items())
        merged.setdefault((pattern, shapes), []).append(owner)
    std = found.health.std if found.health else {}
    labels = [_range(pattern, owners) for (pattern, _), owners in merged.items()]
    column = min(max(map(len, labels), default=0), 34)
    lines = []
    for label, ((_, shapes), owners) in zip(labels, merged.items(), strict=True):
        values = sum(math.prod(shape) for _, shape, _ in shapes) * len(owners)
        spread = _spread(std, owners, shapes)
        head = f"  {label:<{column}}  {count_of(values):>7}  "
        text = ", ".join(_tensors(shapes)) + spread
        lines += textwrap.wrap(
            text, width, initial_indent=head, subsequent_indent=" " * (column + 13), break_on_hyphens=False
        ) or [head]
    return lines


def _split(name: str) -> tuple[str, str]:
    """`blocks.3` and `attn.qkv.weight`; `patch_embed.proj` and `weight`; for what stands alone, itself and nothing."""
    parts = name.split(".")
    numbers = [place for place, part in enumerate(parts[:-1]) if part.isdigit()]
    place = numbers[-1] + 1 if numbers else max(len(parts) - 1, 1)
    return ".".join(parts[:place]), ".".join(parts[place:])


def _range(pattern: str, owners: list[str]) -> str:
    """`blocks.0-11` of its members; the numbers that differ are the last ones."""
    if "#" not in pattern or len(owners) == 1:
        return owners[0]
    numbers = sorted(int(re.findall(r"\d+", owner)[-1]) for owner in owners)
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return pattern.replace("#", ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs))


def _tensors(shapes: Iterable[tuple[str, tuple[int, ...], str]]) -> list[str]:
    """`attn.qkv 2304x768 +bias` for a weight with its bias, name and shape for any other tensor."""
    by_name = {rest: (shape, dtype) for rest, shape, dtype in shapes}
    said = []
    for rest, (shape, dtype) in by_name.items():
        owner, _, kind = rest.rpartition(".")
        around = f"{owner}." if owner else ""
        if kind in ("bias", *STATISTICS) and f"{around}weight" in by_name:
            continue
        beside = ""
        if kind == "weight":
            beside = " +bias" if f"{around}bias" in by_name else ""
            beside += " +statistics" if f"{around}{STATISTICS[0]}" in by_name else ""
        text = f"{owner if kind == 'weight' else rest} {'x'.join(map(str, shape)) or 'number'}".strip()
        said.append(text + beside + ("" if dtype == "float32" else f" {dtype}"))
    return said


def _spread(std: dict[str, float], owners: list[str], shapes: Iterable[tuple]) -> str:
    """The smallest and largest standard deviation of the group's weights: what training has made of them."""
    found = [
        std[name]
        for owner in owners
        for rest, shape, _ in shapes
        if len(shape) > 1 and (name := f"{owner}.{rest}" if rest else owner) in std and not math.isnan(std[name])
    ]
    if not found:
        return ""
    low, high = f"{min(found):.2g}", f"{max(found):.2g}"
    return f"; std {low}" if low == high else f"; std {low} to {high}"


def _names(names: list[str]) -> str:
    """Names, with one entry for what repeats: `decoder_blocks.0-7.* (96)`."""
    if len(names) <= SHOWN_NAMES:
        return ", ".join(names)
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_split(name)[0], []).append(name)
    merged: dict[tuple, list[str]] = {}
    for owner, members in groups.items():
        merged.setdefault((re.sub(r"\d+(?=\D*$)", "#", owner), len(members)), []).append(owner)
    said = []
    for (pattern, count), owners in merged.items():
        alone = len(owners) == 1 and count == 1
        said.append(groups[owners[0]][0] if alone else f"{_range(pattern, owners)}.* ({count * len(owners)})")
    return ", ".join(said[: 2 * SHOWN_NAMES]) + _more(said, 2 * SHOWN_NAMES)


def _more(names: list[str], shown: int) -> str:
    return f" and {len(names) - shown} more" if len(names) > shown else ""


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
