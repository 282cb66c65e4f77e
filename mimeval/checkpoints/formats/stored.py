"""What a file says of its backbone beside the weights: a runner's config, our own header, the model's name in MAE's arguments."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

Grid = tuple[int, int]

ARCH_HEADS = {"tiny": 3, "small": 6, "base": 12, "large": 16, "huge": 16}


def header(meta: dict[str, Any]) -> dict[str, Any]:
    """What stands beside the state dict: both the runner's checkpoints and ours keep it under `meta`."""
    return mapping(meta, "meta")


def mapping(meta: dict[str, Any], key: str) -> dict[str, Any]:
    """The mapping under a key, empty if there is none: files hold anything."""
    found = meta.get(key)
    return found if isinstance(found, dict) else {}


def backbone_config(meta: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the backbone that the file states, empty if none: `model.backbone` of a runner's config, and our header's facts.

    The runner writes its config as Python text, which is read and never run.
    """
    config = _runners(meta)
    try:
        facts = json.loads(header(meta).get("facts", "{}"))
    except (TypeError, ValueError):
        return config
    return {**config, **facts} if isinstance(facts, dict) else config


def stored_normalisation(meta: dict[str, Any]) -> tuple[Any, Any]:
    """Mean and std of the images as our header notes them; (None, None) if it does not."""
    try:
        noted = json.loads(header(meta).get("normalisation", "[]"))
    except (TypeError, ValueError):
        noted = []
    return (noted[0], noted[1]) if isinstance(noted, list) and len(noted) == 2 else (None, None)


def _runners(meta: dict[str, Any]) -> dict[str, Any]:
    return dict(mapping(_assigned(meta, "model"), "backbone"))


def stored_preprocessor(meta: dict[str, Any]) -> tuple[Any, Any]:
    """Mean and std of the images in a runner's config, values 0..1; (None, None) if there is none. Of two (BEiT) the encoder's."""
    for found in (mapping(_assigned(meta, "model"), "data_preprocessor"), _assigned(meta, "data_preprocessor")):
        mean, std = found.get("mean"), found.get("std")
        if isinstance(mean, list | tuple) and isinstance(std, list | tuple):
            numbers = [[value / 255 for value in values if isinstance(value, int | float)] for values in (mean, std)]
            return numbers[0], numbers[1]
    return None, None


def _assigned(meta: dict[str, Any], name: str) -> dict[str, Any]:
    """The mapping that a runner's config gives a name at its top."""
    text = header(meta).get("cfg")
    try:
        tree = ast.parse(text) if isinstance(text, str) else ast.Module([], [])
        for node in tree.body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
                found = _literal(node.value)
                return found if isinstance(found, dict) else {}
    except (SyntaxError, ValueError, AttributeError, RecursionError):
        pass
    return {}


def _literal(node: ast.expr) -> Any:
    # ast.literal_eval, and `dict(a=1)`, which is how mmengine prints a config.
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "dict" and not node.args:
        return {keyword.arg: _literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(element) for element in node.elts]
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(k): _literal(v) for k, v in zip(node.keys, node.values, strict=True) if k is not None}
    return ast.literal_eval(node)


def stored_heads(meta: dict[str, Any]) -> int | None:
    """The number of heads of a ViT that a file says: in our header, a runner's config, or the model name in MAE's arguments."""
    said = header(meta)
    if str(said.get("num_heads", "")).isdigit():
        return int(said["num_heads"])
    arch = backbone_config(meta).get("arch")
    if isinstance(arch, dict):
        heads = arch.get("num_heads")
        return heads if isinstance(heads, int) else None
    name = arch if isinstance(arch, str) else str(getattr(meta.get("args"), "model", ""))
    return next((heads for size, heads in ARCH_HEADS.items() if size in name.split("_")), None)


def stored_grid(meta: dict[str, Any]) -> Grid | None:
    """The grid of patches that a file says, in its header or in the config of a runner."""
    found = re.fullmatch(r"(\d+)x(\d+)", str(header(meta).get("grid", "")))
    if found:
        return int(found[1]), int(found[2])
    config = _runners(meta)
    swin = "Swin" in str(config.get("type"))
    size, patch = config.get("img_size", 224), config.get("patch_size", 4 if swin else 16)
    if not config or not isinstance(patch, int) or patch < 1:
        return None
    h, w = (size, size) if isinstance(size, int) else size
    return h // patch, w // patch
