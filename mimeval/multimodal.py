"""Keeps the language models of mmpretrain and mmdet out: nothing here uses them.

Wherever transformers is installed at all, mmpretrain imports its multimodal models, which fail with transformers 5 and with them
everything else of it; and mmengine and mmdet import transformers, which takes seconds, for an optimiser and for text.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Sequence
from importlib.abc import Loader
from types import ModuleType

SWITCH = "mmpretrain.utils.dependency"
LIBRARIES = ("mmengine.", "mmdet.", "mmseg.", "mmpretrain.")


def leave_out() -> None:
    """Let the OpenMMLab libraries take transformers for absent, from their import on. May be called again."""
    if SWITCH in sys.modules:
        sys.modules[SWITCH].WITH_MULTIMODAL = False  # type: ignore[attr-defined]
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds mmpretrain's module that says whether transformers is there, and hides transformers from its sisters."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname == "transformers" and _importer().startswith(LIBRARIES):
            raise ImportError("transformers is left out here", name=fullname)
        if fullname != SWITCH:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


def _importer() -> str:
    # The module whose import statement is being run.
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("importlib."):
        frame = frame.f_back
    return frame.f_globals.get("__name__", "")


class _Loader(Loader):
    def __init__(self, loader: Loader):
        self.loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        module.WITH_MULTIMODAL = False  # type: ignore[attr-defined]
