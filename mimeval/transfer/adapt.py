"""A task's config for a checkpoint: the encoder and the images' normalisation are those of its pre-training, the rest the recipe's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config, ConfigDict

from mimeval.checkpoints.encoder import is_windowed, obstacle, size_for, with_encoder
from mimeval.checkpoints.formats import Recognised
from mimeval.checkpoints.formats.architecture import Architecture, ViT
from mimeval.checkpoints.formats.base import IMAGENET_MEAN, IMAGENET_STD, Normalisation
from mimeval.checkpoints.next_step import suite_for
from mimeval.errors import UserError

IMAGENET: Normalisation = (IMAGENET_MEAN, IMAGENET_STD)


@dataclass(frozen=True)
class Known:
    """What a task's config needs to know of a checkpoint."""

    path: Path
    architecture: Architecture
    normalisation: Normalisation

    @classmethod
    def of(cls, path: Path, found: Recognised) -> Known:
        return cls(path, found.architecture, found.normalisation)


def check_recipes(bases: Mapping[str, Config], known: Known) -> None:
    """Raises UserError where one of these tasks' recipes cannot have this encoder, with all such tasks and those that remain."""
    reasons = {}
    for task, cfg in bases.items():
        backbone = cfg.model.backbone.to_dict()
        if size_for(backbone, known.architecture) is None:
            _name_suite(cfg, known)
            continue
        maps = backbone.get("out_type") == "maps"
        if reason := obstacle(known.architecture, is_windowed(backbone), maps, backbone.get("patch_size", 16)):
            reasons[task] = f"the recipe of {task} ({cfg.protocol.name}) cannot have its encoder: {reason}"
    if reasons:
        others = ",".join(task for task in bases if task not in reasons)
        raise UserError(
            f"{known.path}: {'; '.join(reasons.values())}; leave {'it' if len(reasons) == 1 else 'them'} out"
            f"{f' (--tasks {others})' if others else ''}, or give a suite with another recipe."
        )


def adapt(cfg: Config, known: Known) -> list[str]:
    """Change a task's config in place, for an encoder that its recipe can have; returns what differs from the recipe, in phrases.

    An encoder of another size, or a Swin, is left to the strict loader, which says what does not fit.
    """
    changed, differs = with_encoder(cfg.model.backbone.to_dict(), known.architecture)
    cfg.model.backbone = ConfigDict(changed)
    differs += _neck(cfg, changed) if size_for(changed, known.architecture) is not None else []
    return differs + _images(cfg, known.normalisation)


def _name_suite(cfg: Config, known: Known) -> None:
    """Raises UserError for a ViT of another size than the recipe's, where a suite is shipped for it."""
    suite = suite_for(known.architecture)
    is_vit = str(cfg.model.backbone.get("type")).endswith("VisionTransformer")
    if suite is not None and is_vit and isinstance(known.architecture, ViT):
        raise UserError(
            f"{known.path}: the checkpoint is {known.architecture}, and the recipe of {cfg.protocol.task} ({cfg.filename}) is for another "
            f"width or depth; give --suite configs/suites/{suite.name}.py."
        )


def _neck(cfg: Config, backbone: dict) -> list[str]:
    neck = cfg.model.get("neck")
    if neck is None or not str(neck.get("type")).endswith("ProbeNeck"):
        return []
    if backbone.get("class_token", True) or not neck.get("class_token", True):
        return []
    neck.class_token = False
    if neck.get("tokens") != "cls":
        return []
    neck.tokens = "mean"
    return ["the mean of the patches in place of the class token"]


def _images(cfg: Config, normalisation: Normalisation) -> list[str]:
    # ImageNet's values are what every family has that states none, so that a recipe's own may stay.
    preprocessor = cfg.model.get("data_preprocessor")
    if preprocessor is None or "mean" not in preprocessor or _close(normalisation, IMAGENET):
        return []
    if _close(
        normalisation, tuple([value / 255 for value in values] for values in (preprocessor.mean, preprocessor.std))
    ):
        return []
    preprocessor.mean, preprocessor.std = ([255 * value for value in values] for values in normalisation)
    numbers = [" ".join(f"{value:.3g}" for value in values) for values in normalisation]
    return [f"images normalised with mean {numbers[0]}, std {numbers[1]}"]


def _close(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> bool:
    # Configs round to a thousandth of 255.
    return all(
        abs(a - b) < 1e-4 for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True)
    )
