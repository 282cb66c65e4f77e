"""What a library raises while a run is built from a config, said in a sentence that names the config."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mmengine.registry import Registry, root

import mimeval.registry
from mimeval.errors import UserError

_UNKNOWN_TYPE = re.compile(r"(\S+) is not in the (?:\S+::)?(.+?) registry")


@contextmanager
def blame_config(filename: str | None, still: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Turn any exception inside, while `still()`, into a UserError about the config; the original follows as its cause."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # whatever a constructor raises comes from the arguments that the config gave
        if not still():
            raise
        raise UserError(f"config {filename or '(in memory)'}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
    unknown = _UNKNOWN_TYPE.search(text)
    if unknown:
        name, kind = unknown[1].strip("'\""), unknown[2]
        near = difflib.get_close_matches(name.split(".")[-1], sorted(_registered(kind)), n=3)
        hint = (
            f"did you mean {' or '.join(near)}?"
            if near
            else "write the library's prefix for its own, e.g. mmdet.MaskRCNN"
        )
        return f"type='{name}' is no {kind} that mimeval knows; {hint}"
    if isinstance(error, TypeError) and "argument" in text:
        return f"wrong argument: {text}"
    return f"it cannot be run ({type(error).__name__}: {text})"


def _registered(kind: str) -> set[str]:
    own = [item for item in vars(mimeval.registry).values() if isinstance(item, Registry)]
    parents = [item for item in vars(root).values() if isinstance(item, Registry)]
    return {name for registry in [*own, *parents] if registry.name == kind for name in registry.module_dict}
