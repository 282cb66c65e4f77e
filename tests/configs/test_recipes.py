"""Every constant of every recipe, against a table that was written by hand from the papers' own code.

tests/recipes.csv has a row per constant: `config` below configs/, `key` a dotted path with list items by number, `value` a
Python literal (None: the key may be absent), `source` the official file or table. `derived` holds what a run computes from
several keys: `batch_on_8_gpus` and `lr_on_8_gpus`, both with accumulation, and the same for 1, 16, 32 and 64.
"""

import ast
import copy
import csv
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mimeval.engine.config import load_config
from mimeval.engine.lr import effective_batch, resolve_lr

CONFIGS = Path(__file__).parents[2] / "configs"
with open(Path(__file__).parents[1] / "recipes.csv", newline="", encoding="utf-8") as file:
    ROWS = list(csv.DictReader(file))
ABSENT = object()


def plain(value: Any) -> Any:
    """Tuples as lists, since a config may have either."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


@cache
def recipe(name: str) -> dict:
    """The resolved config as plain dicts and lists, and what a run derives from it."""
    config = load_config(CONFIGS / name)
    settings = plain(config._cfg_dict.to_dict())
    derived = settings["derived"] = {}
    if config.get("optim_wrapper"):
        for gpus in (1, 8, 16, 32, 64):
            run = copy.deepcopy(config)
            resolve_lr(run, gpus)
            derived[f"batch_on_{gpus}_gpus"] = effective_batch(run, gpus)
            derived[f"lr_on_{gpus}_gpus"] = run.optim_wrapper.optimizer.lr
    return settings


def look_up(settings: Any, key: str) -> Any:
    """The value under a dotted key; ABSENT if only its last part is not there."""
    *parents, last = key.split(".")
    node = settings
    for depth, part in enumerate(parents):
        found = node[int(part)] if isinstance(node, list) else node.get(part, ABSENT)
        assert found is not ABSENT, f"{'.'.join(parents[: depth + 1])} is not in the config; there are {sorted(node)}"
        node = found
    return node[int(last)] if isinstance(node, list) else node.get(last, ABSENT)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{Path(row['config']).stem}-{row['key']}")
def test_constant(row):
    found, expected = look_up(recipe(row["config"]), row["key"]), plain(ast.literal_eval(row["value"]))
    if expected is None:
        assert found is None or found is ABSENT, f"{row['key']} is {found!r}, none by {row['source']}"
        return
    assert found is not ABSENT, f"{row['key']} is not in {row['config']}; {row['source']}"
    assert isinstance(found, bool) == isinstance(expected, bool)
    same = pytest.approx(expected, rel=1e-12) if isinstance(expected, float) else expected
    assert found == same, f"{row['key']} is {found!r}, {expected!r} by {row['source']}"


def test_table_is_whole():
    assert all(set(row) == {"config", "key", "value", "source"} and all(row.values()) for row in ROWS)
    keys = [(row["config"], row["key"]) for row in ROWS]
    assert len(keys) == len(set(keys)), "a constant is listed twice"


def test_every_transfer_recipe_has_rows():
    recipes = {f"transfer/{path.name}" for path in (CONFIGS / "transfer").glob("*.py")}
    assert recipes == {row["config"] for row in ROWS if row["config"].startswith("transfer/")}
