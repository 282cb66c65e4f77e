"""A backbone from a checkpoint's architecture alone."""

from __future__ import annotations

import os
from typing import Any

from mimeval.backbones import SwinTransformer, VisionTransformer
from mimeval.errors import UserError
from mimeval.registry import MODELS

from .formats.architecture import Architecture
from .settings import backbone_settings


def build_backbone(
    path: str | os.PathLike, architecture: Architecture, **overrides: Any
) -> VisionTransformer | SwinTransformer:
    """The backbone of this architecture, at random; overrides: its arguments (img_size=, out_type=, ...) and num_heads=.

    Raises UserError where shapes do not tell enough; `num_heads` says what they never tell.
    """
    heads = overrides.pop("num_heads", None)
    settings = backbone_settings(architecture, guess_heads=heads is not None)
    if settings is None:
        raise UserError(
            f"{path}: no backbone can be built from the checkpoint alone ({architecture}): heads, image size or MLP cannot be "
            "read from its shapes; give num_heads, or build the backbone and load into it."
        )
    if heads is not None:
        settings["arch"]["num_heads"] = heads
    return MODELS.build({**settings, **overrides})
