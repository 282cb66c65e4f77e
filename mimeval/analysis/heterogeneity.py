"""How token heterogeneity goes with depth in a pre-trained model (MTO, 2404.08330): a curve for each run of blocks with mask tokens.

The measure is a reconstruction (pretrain/heterogeneity.py), and so is whatever its curves are taken to mean.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mimeval.analysis.images import whole_images
from mimeval.checkpoints.state import read_state
from mimeval.engine.faults import blame_config
from mimeval.engine.strict_runner import differing_state
from mimeval.errors import UserError
from mimeval.pretrain.heterogeneity import HeterogeneityWatches
from mimeval.pretrain.model import MaskedImageModel
from mimeval.registry import MODELS

LABEL = "a reconstruction, not the paper's formula"


@dataclass(frozen=True)
class Curve:
    """E at every depth of one run of blocks, 0..1: before block l, and after the last one.

    Attributes:
        site: 'encoder' or 'decoders.<k>', where mask tokens meet visible ones.
        values: means over images; an image's own is the mean over its parts and mask tokens.
        errors: their standard errors (0 for one image).
    """

    site: str
    values: list[float]
    errors: list[float]

    @property
    def rises(self) -> list[int]:
        """The blocks that raise it."""
        return [block for block, (a, b) in enumerate(zip(self.values, self.values[1:], strict=False)) if b > a]


@dataclass(frozen=True)
class Heterogeneity:
    """The curves of a model on some images."""

    curves: list[Curve]
    temperature: float
    images: int
    parts: int
    seed: int
    unreadable: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with the label of the definition."""
        curves = [vars(curve) | {"rises": curve.rises} for curve in self.curves]
        return {"metric": "token heterogeneity", "definition": LABEL, **vars(self), "curves": curves}


def load_model(cfg: Config, checkpoint: str) -> MaskedImageModel:
    """A config's pre-training model with the weights of a checkpoint of ours, ready to be looked at; targets read no files.

    Raises:
        UserError: the config is of another kind of model, or the checkpoint cannot be read or is not exactly the model's.
    """
    if (cfg.get("model") or {}).get("type", "").removeprefix("mimeval.") != "MaskedImageModel":
        raise UserError(
            f"config {cfg.filename}: expected a pre-training config, whose model is a MaskedImageModel, found "
            f"{(cfg.get('model') or {}).get('type', 'no model')}; give the config that the checkpoint was trained with."
        )
    init_default_scope("mimeval")
    cfg.model.backbone.pop("init_cfg", None)
    with blame_config(cfg.filename):
        model = MODELS.build(cfg.model)
    state = read_state(checkpoint).state
    if differing := differing_state(model.state_dict(), state):
        raise UserError(
            f"checkpoint {checkpoint}: expected the very parameters of the model in {cfg.filename}, decoders included, "
            f"found {differing}; give a checkpoint of that config, or its config."
        )
    model.load_state_dict(state)
    if not (model.encoding.watchable if model.encoding.complete else all(d.watchable for d in model.decoders)):
        raise UserError(
            f"config {cfg.filename}: expected mask tokens that meet all visible ones in the blocks of a plain ViT or of every "
            "decoder, found none or windows; token heterogeneity is not defined there."
        )
    if model.image_size[0] != model.image_size[1]:
        raise UserError(
            f"config {cfg.filename}: expected square images, found {model.image_size[0]} x {model.image_size[1]} pixels; "
            "images are cropped to squares here."
        )
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


@torch.no_grad()
def measure(
    model: MaskedImageModel,
    batches: Iterable[dict[str, Any]],
    temperature: float = 0.1,
    seed: int = 0,
    progress: Callable[[int, float], None] = lambda done, rate: None,
) -> Heterogeneity:
    """The curves of a model on batches of images of its size, each image under the masks of (seed, 0, its number).

    progress: called after each batch with the images done and images per second.

    Raises:
        UserError: no image could be read.
    """
    device = next(model.parameters()).device
    rows: list[list[torch.Tensor]] = []
    done, unreadable, start = 0, 0, time.monotonic()
    for batch in batches:
        whole = whole_images(batch)
        unreadable += len(batch["inputs"]) - len(whole)
        if not whole:
            continue
        images = model.data_preprocessor({"inputs": torch.stack([image for image, _ in whole])})["inputs"]
        keys = torch.tensor([[seed, 0, done + i] for i in range(len(whole))], device=device)
        own = None if model.mask_token is None else model.mask_token.watches()
        watches = HeterogeneityWatches(temperature, own)
        model.predict(images, model.masking(keys, model.mask_grid), watches)
        # Sequences are images with their parts beside them.
        rows.append([torch.stack(c, 1).unflatten(0, (len(whole), -1)).mean(1).cpu() for c in watches.curves])
        done += len(whole)
        progress(done + unreadable, (done + unreadable) / max(time.monotonic() - start, 1e-9))
    if not rows:
        raise UserError("token heterogeneity needs at least one image that can be read, found none.")
    names = ["encoder"] if model.encoding.complete else [f"decoders.{k}" for k in range(len(model.decoders))]
    curves = [_curve(name, torch.cat(site).double()) for name, site in zip(names, zip(*rows, strict=True), strict=True)]
    return Heterogeneity(curves, temperature, done, model.masking.parts, seed, unreadable)


def _curve(site: str, values: torch.Tensor) -> Curve:
    """values: [images, depths]."""
    spread = values.std(0) / len(values) ** 0.5 if len(values) > 1 else torch.zeros(values.shape[1])
    return Curve(site, values.mean(0).tolist(), spread.tolist())


def summary(found: Heterogeneity, name: str) -> str:
    """What a person wants to know of it: a table, depths down and sites across."""
    unreadable = f"; {found.unreadable:,} damaged images left out" if found.unreadable else ""
    parts = f" in {found.parts} parts" if found.parts > 1 else ""
    lines = [
        f"token heterogeneity  {name}  ({LABEL}; 1: like no visible token in particular)",
        f"{found.images:,} images{parts}, temperature {found.temperature:g}, seed {found.seed}{unreadable}",
        "depth  " + "".join(f"{curve.site:>20}" for curve in found.curves),
    ]
    for depth in range(max(len(curve.values) for curve in found.curves)):
        cells = [
            f"{c.values[depth]:.4f} +- {c.errors[depth]:.4f}" if depth < len(c.values) else "" for c in found.curves
        ]
        lines.append(f"{depth:5}  " + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)
