"""Reading checkpoints safely, recognising their family, converting them, loading them strictly.

What is named here is imported when it is used: a look at a file needs no backbones.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .convert import ConversionReport, convert
    from .inspect import Inspection, inspect
    from .load import LoadReport, Pretrained, load_backbone
    from .safe_loader import install_safe_loader
    from .state import Checkpoint, read_file, read_state

__all__ = [
    "Checkpoint",
    "ConversionReport",
    "Inspection",
    "LoadReport",
    "Pretrained",
    "convert",
    "inspect",
    "install_safe_loader",
    "load_backbone",
    "read_file",
    "read_state",
]
PLACES = {
    "convert": ("ConversionReport", "convert"),
    "inspect": ("Inspection", "inspect"),
    "load": ("LoadReport", "Pretrained", "load_backbone"),
    "safe_loader": ("install_safe_loader",),
    "state": ("Checkpoint", "read_file", "read_state"),
}


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # The functions convert and inspect have the names of their modules, which importing those would put in their place.
        if not (name in ("convert", "inspect") and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        for module, names in PLACES.items():
            if name in names:
                value = getattr(import_module(f"{self.__name__}.{module}"), name)
                setattr(self, name, value)
                return value
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


sys.modules[__name__].__class__ = _Package
