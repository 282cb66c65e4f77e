"""Fitting a tokenizer: mini-batch K-means over a stream of images, whose vectors are never kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

from mimeval.datasets.damaged import METAINFO, Damage
from mimeval.datasets.transforms import FIXED
from mimeval.engine import provenance
from mimeval.engine.environment import setup_environment
from mimeval.engine.faults import blame_config
from mimeval.engine.hooks.progress import clock
from mimeval.engine.live import LiveLine
from mimeval.engine.strict_runner import StrictRunner
from mimeval.errors import UserError
from mimeval.pretrain.tokenizers.tokenizer import ClusterTokenizer, TokenizerFile, read_tokenizer, write_tokenizer
from mimeval.registry import MODELS

# What a config of a tokenizer has.
FIT_KEYS = {"data_root", "randomness", "epochs", "data_preprocessor", "train_dataloader", "tokenizer", "strict_data"}


@dataclass
class Stream:
    """The vectors of a config's images, batch by batch, epoch by epoch."""

    tokenizer: ClusterTokenizer
    preprocessor: Any
    loader: Any
    line: LiveLine
    strict: bool
    damaged: set[str]

    def __post_init__(self) -> None:
        self.start, self.seen = time.monotonic(), 0
        self.device = self.tokenizer.centres.device

    @property
    def images(self) -> int:
        """Images of an epoch."""
        size, batch = len(self.loader.dataset), self.loader.batch_size
        return size - size % batch if self.loader.drop_last else size

    @torch.no_grad()
    def epoch(self, number: int, of: int, doing: str) -> Iterator[Tensor]:
        """Vectors [B * L, d] of each batch as K-means takes them. Passes of a run: 0 .. of - 1."""
        self.loader.sampler.set_epoch(number)
        done = 0
        for batch in self.loader:
            self._note(batch["data_samples"])
            images = self.preprocessor(batch)["inputs"]
            yield self.tokenizer.fitted(self.tokenizer.vectors(images)).flatten(0, 1)
            done += len(images)
            self.seen += len(images)
            rate = self.seen / max(time.monotonic() - self.start, 1e-9)
            left = clock(max(self.images * of - self.seen, 0) / rate)
            self.line.update(f"{doing}  image {done:,}/{self.images:,}  {rate:,.0f} images/s  eta {left}")

    def _note(self, samples: Any) -> None:
        for damage in (Damage(*entry) for sample in samples for entry in sample.metainfo.get(METAINFO, ())):
            if self.strict:
                raise UserError(
                    f"{damage.file}: expected a file that can be read, as --strict-data asks, found it damaged "
                    f"({damage.reason}); replace or remove it"
                )
            if damage.file not in self.damaged:
                self.damaged.add(damage.file)
                self.line.note(f"damaged file {damage.file} ({damage.reason}): {damage.done}")


def fit_tokenizer(cfg: Config, out: Path, line: LiveLine | None = None) -> TokenizerFile:
    """Fits the tokenizer of a config (FIT_KEYS) and writes it to `out`; one pass more counts the patches of each centre.

    Raises:
        UserError: the config cannot be run, its data or checkpoint cannot be read, or there are fewer vectors than centres.
    """
    setup_environment()
    init_default_scope("mimeval")
    line = line or LiveLine()
    _check(cfg)
    seed, epochs = cfg.randomness.seed, cfg.epochs
    stream = _stream(cfg, line)
    tokenizer = stream.tokenizer
    kmeans: MiniBatchKMeans | None = None
    passes = epochs + 1
    for epoch in range(epochs):
        # What the first batch meets (images of different sizes, patches that do not fill them) is the config's fault.
        with blame_config(cfg.filename, lambda: stream.seen == 0):
            for vectors in stream.epoch(epoch, passes, f"epoch {epoch + 1}/{epochs}"):
                rows = vectors.cpu().numpy()
                if kmeans is None:
                    kmeans = _begin(tokenizer, rows, seed, cfg)
                kmeans.partial_fit(rows)
    assert kmeans is not None  # a loader without a batch was refused
    tokenizer.centres.copy_(torch.from_numpy(kmeans.cluster_centers_))
    counts, inertia = _count(stream, epochs, passes)
    line.clear()
    dataset = cfg.train_dataloader.dataset.get("dataset", cfg.train_dataloader.dataset)
    patches = int(counts.sum())
    facts = {
        "training": {
            "config": Path(cfg.filename or "").name,
            "command": provenance.command(),
            "seed": seed,
            "git": provenance.git_revision(),
            "hardware": provenance.hardware(),
            "versions": provenance.versions() | {"scikit-learn": sklearn.__version__},
            "images_seen": stream.images * epochs,
        },
        "data": {"folder": str(Path(dataset.get("data_root") or "", dataset.folder)), "images": stream.images},
        "pipeline": Config(dict(pipeline=dataset.pipeline)).to_dict()["pipeline"],
        "mean": list(cfg.data_preprocessor.mean),
        "std": list(cfg.data_preprocessor.std),
        "epochs": epochs,
        "patches": patches,
        "inertia": inertia,
        "inertia_per_patch": inertia / patches,
        "empty": int((counts == 0).sum()),
        "damaged": len(stream.damaged),
        "checkpoint": _checkpoint(tokenizer),
    }
    config = cfg.tokenizer.to_dict()
    write_tokenizer(out, tokenizer.centres, counts, config, tokenizer.vectors.describe(), facts)
    return read_tokenizer(out)


def summary(file: TokenizerFile) -> str:
    """What a person wants to know of a fitted tokenizer."""
    facts, counts = file.facts, file.counts
    epochs = "epoch" if facts["epochs"] == 1 else "epochs"
    empty = (
        f"{len(file.empty)} centres are EMPTY ({', '.join(map(str, file.empty[:10]))})"
        if file.empty
        else "none is empty"
    )
    return (
        f"{file.path}: {len(file.centres)} centres of {file.centres.shape[1]} values "
        f"({file.tokenizer.get('distance', 'euclid')}), {facts['epochs']} {epochs} of {facts['data']['images']:,} images, "
        f"seed {facts['training']['seed']}\n"
        f"inertia {facts['inertia_per_patch']:.6g} a patch over {facts['patches']:,} patches; "
        f"{int(counts.min()):,} to {int(counts.max()):,} patches a centre, {empty}\n"
        f"sha256 {file.sha256}"
    )


def _check(cfg: Config) -> None:
    for key in ("tokenizer", "train_dataloader", "epochs", "data_preprocessor"):
        if not cfg.get(key):
            raise UserError(
                f"config {cfg.filename}: expected {key} to fit a tokenizer, found none; is it a config of configs/tokenizers?"
            )
    if not isinstance(cfg.epochs, int):
        raise UserError(f"config {cfg.filename}: expected epochs to be a number from 1 on, found {cfg.epochs!r}.")
    source = cfg.train_dataloader.dataset.get("dataset", cfg.train_dataloader.dataset)
    if random := [step["type"] for step in source["pipeline"] if step["type"] not in FIXED]:
        raise UserError(
            f"config {cfg.filename}: centres are fitted on images as they are, found {random[0]} in train_dataloader; remove it."
        )


def _stream(cfg: Config, line: LiveLine) -> Stream:
    settings = cfg.train_dataloader.to_dict()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with blame_config(cfg.filename):
        tokenizer = MODELS.build(cfg.tokenizer)
        preprocessor = MODELS.build(cfg.data_preprocessor).to(device)
        loader = StrictRunner.build_dataloader(settings, seed=cfg.randomness.seed)
    tokenizer.vectors.init_weights()
    if tokenizer.vectors.describe().get("checkpoint_sha256", "") is None:
        raise UserError(
            f"config {cfg.filename}: expected tokenizer.vectors.backbone to have an init_cfg with a checkpoint, found none, "
            "and a random backbone has no features to cluster; add it."
        )
    return Stream(tokenizer.to(device), preprocessor, loader, line, bool(cfg.get("strict_data")), set())


def _begin(tokenizer: ClusterTokenizer, rows: np.ndarray, seed: int, cfg: Config) -> MiniBatchKMeans:
    """K-means as ClusterMIM sets it up (main_kmeans_cpu_patch.py); it takes its first centres from the first batch."""
    different: set[bytes] = set()
    for row in rows:
        different.add(row.tobytes())
        if len(different) == tokenizer.num_centres:
            break
    else:
        raise UserError(
            f"config {cfg.filename}: expected at least {tokenizer.num_centres} different patches in the first batch, one for "
            f"each centre, found {len(different)}; lower tokenizer.num_centres or raise train_dataloader.batch_size."
        )
    # Labels of each batch would cost a second search and are not needed.
    return MiniBatchKMeans(
        n_clusters=tokenizer.num_centres, random_state=seed, batch_size=len(rows), n_init="auto", compute_labels=False
    )


def _count(stream: Stream, number: int, passes: int) -> tuple[Tensor, float]:
    """Patches of each centre [K], and the sum of squared distances to the nearest centre (K-means' inertia)."""
    tokenizer = stream.tokenizer
    counts = torch.zeros(tokenizer.num_centres, dtype=torch.int64, device=stream.device)
    inertia = 0.0
    # The images of the last epoch, where the last batch of an epoch is dropped.
    for vectors in stream.epoch(number - 1, passes, "counting"):
        counts += torch.bincount(tokenizer.assign(vectors), minlength=tokenizer.num_centres)
        nearest = (tokenizer.centres.square().sum(1) - 2 * vectors @ tokenizer.centres.T).min(dim=1).values
        inertia += float((vectors.square().sum(1) + nearest).clamp(min=0).double().sum())
    return counts.cpu(), inertia


def _checkpoint(tokenizer: ClusterTokenizer) -> dict[str, str] | None:
    checkpoint = getattr(tokenizer.vectors, "checkpoint", None)
    return None if checkpoint is None else {"path": str(checkpoint), "sha256": tokenizer.vectors.sha256}
