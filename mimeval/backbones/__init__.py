"""What transfers: the backbones. Importing their modules registers them; positions.py alone is light, and needs none of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .pyramid import SimpleFeaturePyramid, TapPyramid
    from .swin import SwinTransformer
    from .vit import VisionTransformer

__all__ = ["SimpleFeaturePyramid", "SwinTransformer", "TapPyramid", "VisionTransformer"]
PLACES = {
    "SimpleFeaturePyramid": "pyramid",
    "TapPyramid": "pyramid",
    "SwinTransformer": "swin",
    "VisionTransformer": "vit",
}


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{PLACES[name]}"), name)
