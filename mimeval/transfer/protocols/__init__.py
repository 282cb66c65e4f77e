"""One module for each task; `protocol('knn')` imports it."""

from importlib import import_module
from types import ModuleType

from mimeval.errors import UserError
from mimeval.transfer.results import TASKS


def protocol(task: str) -> ModuleType:
    """The module of a task: METRIC, VERSION and run(cfg, prefix)."""
    if task not in TASKS:
        raise UserError(f"There is no task '{task}': expected one of {', '.join(TASKS)}.")
    return import_module(f"mimeval.transfer.protocols.{task}")
