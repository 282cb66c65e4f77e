"""Discrete tokens of patches: the nearest of K centres, and the file that keeps the centres with their provenance."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimeval.backbones.settings import check_choice
from mimeval.checkpoints.state import read_file, sha256, write_safetensors
from mimeval.engine.faults import blame_config
from mimeval.errors import UserError
from mimeval.registry import MODELS

Config = dict
FORMAT = "mimeval-tokenizer"
DISTANCES = ("euclid", "cosine", "dot")
# Classes that a tokenizer's file may name.
PARTS = {
    "tokenizer": ("ClusterTokenizer",),
    "vectors": ("PixelPatches", "BackbonePatches"),
    "backbone": ("VisionTransformer", "SwinTransformer"),
}


@dataclass(frozen=True)
class TokenizerFile:
    """What `mimeval tokenize fit` wrote.

    Attributes:
        centres: [K, d], float32. counts: [K], int64, patches of each centre in the pass over the data after the fit.
        tokenizer: the config of the tokenizer. vectors: `PatchVectors.describe()` of what the centres were fitted on.
        facts: the rest of the header: training, data, pipeline, mean, std, epochs, inertia, empty.
    """

    path: Path
    centres: Tensor
    counts: Tensor
    tokenizer: dict[str, Any]
    vectors: dict[str, Any]
    facts: dict[str, Any]
    sha256: str

    @property
    def empty(self) -> list[int]:
        """The centres that no patch was nearest to."""
        return (self.counts == 0).nonzero().flatten().tolist()


def write_tokenizer(
    path: str | os.PathLike,
    centres: Tensor,
    counts: Tensor,
    tokenizer: dict[str, Any],
    vectors: dict[str, Any],
    facts: dict[str, Any],
) -> None:
    """Write a TokenizerFile, whole or not at all. Raises UserError if it cannot be written."""
    entries = {"tokenizer": tokenizer, "vectors": vectors, **facts}
    header = {name: json.dumps(entry, sort_keys=True) for name, entry in entries.items()}
    write_safetensors(path, {"centres": centres, "counts": counts}, {"format": FORMAT, **header})


def read_tokenizer(path: str | os.PathLike) -> TokenizerFile:
    """A tokenizer's file. Raises UserError if it cannot be read, is none, or has centres that are not finite."""
    how = "fit one with `mimeval tokenize fit CONFIG --out FILE`"
    if not Path(path).expanduser().exists():
        raise UserError(f"tokenizer {path}: expected a file that `mimeval tokenize fit` wrote, found nothing; {how}.")
    content = read_file(path)
    meta = content.get("meta") if isinstance(content, dict) else None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise UserError(f"tokenizer {path}: expected a file that `mimeval tokenize fit` wrote, found another; {how}.")
    file = Path(path).expanduser()
    try:
        state = content["state_dict"]
        entries = {name: json.loads(text) for name, text in meta.items() if name != "format"}
        tokenizer, vectors = dict(entries.pop("tokenizer")), dict(entries.pop("vectors"))
        centres, counts = state["centres"].float(), state["counts"].long()
        if centres.ndim != 2 or counts.shape != centres.shape[:1] or not centres.isfinite().all():
            raise ValueError("centres that are no finite numbers [K, d], or no count for each")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"tokenizer {path}: expected centres with their provenance, found {error}; fit it again."
        ) from None
    return TokenizerFile(file, centres, counts, tokenizer, vectors, entries, sha256(file))


@MODELS.register_module()
class ClusterTokenizer(nn.Module):
    """Token of a patch: the nearest of K centres (ClusterMIM, 2407.09087: models_mae.tokenize).

    Args:
        vectors: what patches are compared by, PixelPatches or BackbonePatches.
        num_centres: K.
        distance: 'euclid', argmin |f - c|^2, the official default. 'cosine', argmax <f, c> / |f| |c|, K-means on vectors of
            length 1. 'dot', argmax <f, c> with centres of plain K-means as they are: the official `--token_normalize`,
            which gives the vectors length 1 (this changes no argmax) and forgets the centres.
    """

    centres: Tensor

    def __init__(self, vectors: Config, num_centres: int, distance: str = "euclid") -> None:
        super().__init__()
        check_choice("tokenizer.distance", distance, DISTANCES)
        if num_centres < 2:
            raise UserError(f"tokenizer.num_centres must be at least 2, found {num_centres}; one token says nothing.")
        self.vectors = MODELS.build(vectors)
        self.distance = distance
        self.register_buffer("centres", torch.zeros(num_centres, self.vectors.dim))
        self.eval()

    @property
    def num_centres(self) -> int:
        return len(self.centres)

    def load(self, path: str | os.PathLike, allow_empty: bool = False) -> TokenizerFile:
        """Take the centres of a file, after `vectors.init_weights()`.

        Raises:
            UserError: the file cannot be read, its centres were fitted on other vectors, by another distance or in another
                number, or some are empty and that is not allowed.
        """
        file = read_tokenizer(path)
        if file.centres.shape != self.centres.shape:
            (k, d), (wanted_k, wanted_d) = file.centres.shape, self.centres.shape
            raise UserError(
                f"tokenizer {path}: expected {wanted_k} centres of {wanted_d} values as in the config, found {k} of {d}; "
                "give another file, or change num_centres or vectors."
            )
        wanted = {"distance": self.distance, **self.vectors.describe()}
        found = {"distance": file.tokenizer.get("distance", "euclid"), **file.vectors}
        for key in wanted | found:
            if wanted.get(key) != found.get(key):
                raise UserError(
                    f"tokenizer {path}: expected centres for {key} {wanted.get(key)} as in the config, found some for "
                    f"{key} {found.get(key)}; give another file, or change the config."
                )
        if file.empty and not allow_empty:
            raise UserError(
                f"tokenizer {path}: expected patches at every centre, found {len(file.empty)} of {len(file.counts)} centres "
                f"empty (the first: {file.empty[0]}); fit fewer, or set allow_empty=True."
            )
        self.centres.copy_(file.centres)
        return file

    def fitted(self, vectors: Tensor) -> Tensor:
        """Vectors [..., d] as K-means takes them: of length 1 for 'cosine'."""
        return F.normalize(vectors.float(), dim=-1) if self.distance == "cosine" else vectors.float()

    def assign(self, vectors: Tensor) -> Tensor:
        """Vectors [..., d] -> tokens [...], int64. In float32 under autocast too: half precision would move tokens."""
        with torch.autocast(vectors.device.type, enabled=False):
            vectors, centres = vectors.float(), self.centres.float()
            if self.distance == "euclid":
                # |f|^2 is the same for every centre.
                return (centres.square().sum(1) - 2 * vectors @ centres.T).argmin(-1)
            return (vectors @ (F.normalize(centres, dim=1) if self.distance == "cosine" else centres).T).argmax(-1)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """images [B, 3, H, W], ImageNet-normalised -> tokens [B, L], int64."""
        return self.assign(self.vectors(images))


def tokenizer_of(file: TokenizerFile, checkpoint: str | os.PathLike | None = None) -> ClusterTokenizer:
    """The tokenizer that a file's header describes, ready to use.

    checkpoint: where the backbone of a feature tokenizer lies now, by default where it lay when the centres were fitted.

    Raises:
        UserError: the header asks for other classes than a tokenizer is made of, or the checkpoint is not there or another.
    """
    config = json.loads(json.dumps(file.tokenizer))
    vectors = config.get("vectors") or {}
    backbone = vectors.get("backbone")
    named = {"tokenizer": config, "vectors": vectors} | ({"backbone": backbone} if backbone else {})
    for part, settings in named.items():
        # A file may come from anybody: it builds nothing else.
        if str(settings.get("type", "")).removeprefix("mimeval.") not in PARTS[part]:
            raise UserError(
                f"tokenizer {file.path}: expected {part} to be one of {', '.join(PARTS[part])}, found "
                f"{settings.get('type')}; fit it again."
            )
    if checkpoint and not backbone:
        raise UserError(
            f"--backbone {checkpoint}: expected a tokenizer with a backbone, found one of pixels; leave it out."
        )
    if backbone:
        noted = (file.facts.get("checkpoint") or {}).get("path")
        place = Path(checkpoint or noted or "").expanduser()
        if not place.is_file():
            raise UserError(
                f"tokenizer {file.path}: expected its backbone's checkpoint at {place}, found no file there; give it with "
                "--backbone."
            )
        waive = (backbone.get("init_cfg") or {}).get("waive") or []
        backbone["init_cfg"] = dict(type="mimeval.Pretrained", checkpoint=str(place), waive=waive)
    with blame_config(str(file.path)):
        tokenizer = MODELS.build(config)
    tokenizer.vectors.init_weights()
    tokenizer.load(file.path, allow_empty=True)
    return tokenizer
