"""TCAS, the token-class alignment similarity: how much the tokens of one class are also those of others (ClusterMIM, 2407.09087).

No official code exists. The definition is derived: that of methods.md, with the norm that fits the size of the published values.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mimeval.analysis.images import image_batches, whole_images
from mimeval.datasets.transforms import FIXED
from mimeval.errors import UserError
from mimeval.pretrain.tokenizers import ClusterTokenizer, TokenizerFile
from mimeval.registry import MODELS

NORMS = ("l1", "frobenius")
LABEL = "derived, not the paper's code"
INTERVAL = 0.95
# Images for each token. The interval held the true value in 44 of 48 simulated cases from here on, in 21 of 64 below 2.
ENOUGH = 10
MOST_MEMORY = 8 * 2**30


@dataclass(frozen=True)
class Alignment:
    """TCAS of a tokenizer on labelled images; lower is better aligned.

    Attributes:
        value: TCAS on these images. Few images give noisy histograms and so, mostly, a low one.
        corrected, low, high: what the bootstrap expects of many images like these, with its interval (None without).
        tokens: tokens that occur, of `of`; `empty`: those that do not, left out of the mean.
        unreadable: damaged images, left out.
    """

    value: float
    corrected: float | None
    low: float | None
    high: float | None
    norm: str
    tokens: int
    of: int
    empty: list[int]
    images: int
    classes: int
    patches: int
    replicates: int
    seed: int
    unreadable: int = 0

    @property
    def needs_more_images(self) -> bool:
        """Whether images are so few that neither the value nor its correction is to be trusted."""
        return self.images < ENOUGH * self.tokens

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with the label of the definition."""
        return {"metric": "TCAS", "definition": LABEL, **vars(self), "needs_more_images": self.needs_more_images}


def tcas(confusion: Tensor, norm: str = "l1") -> float:
    """TCAS of a confusion matrix [l1 tokens, l2 classes]: (1 / n^2) |R R^T - I| over its n rows that are not empty.

    R has the rows at length 1, so that an entry is the cosine of two tokens' class histograms. norm 'l1' sums the entries:
    the mean cosine of different tokens, times 1 - 1/n. 'frobenius' is the root of their squares' sum.

    Raises:
        UserError: no row, or another norm.
    """
    if norm not in NORMS:
        raise UserError(f"TCAS has the norms {' and '.join(NORMS)}, not {norm!r}.")
    rows = confusion[confusion.sum(1) > 0].double()
    if not len(rows):
        raise UserError("TCAS needs at least one patch with a token, found none.")
    rows = rows / rows.norm(dim=1, keepdim=True)
    n = len(rows)
    # The diagonal is 1 and no entry is negative, so that neither norm needs the n x n matrix of cosines.
    if norm == "l1":
        return float(rows.sum(0).square().sum() - n) / n**2
    gram = rows.T @ rows if rows.shape[1] < n else rows @ rows.T
    return max(float(gram.square().sum() - n), 0.0) ** 0.5 / n**2


class Confusion:
    """Counts of (token, class), and of `replicates` bootstrap samples of the images, added to batch by batch.

    In a replicate each image counts a Poisson(1) number of times (the bootstrap of streams: Chamandy et al., Google 2012),
    drawn image after image from `seed`, so that the size of batches does not matter.

    Attributes:
        counts: [tokens, classes], int64.
    """

    def __init__(self, tokens: int, classes: int, replicates: int = 0, seed: int = 0) -> None:
        needed = 4 * tokens * classes * replicates
        if needed > MOST_MEMORY:
            raise UserError(
                f"{replicates} bootstrap replicates of {tokens} tokens x {classes} classes take {needed / 2**30:.0f} GiB, "
                f"expected {MOST_MEMORY / 2**30:.0f} at most; ask for fewer."
            )
        self.counts = torch.zeros(tokens, classes, dtype=torch.int64)
        self.resampled = torch.zeros(classes, replicates, tokens)
        self.images = 0
        self._random = np.random.default_rng(seed)

    def add(self, tokens: Tensor, labels: Tensor) -> None:
        """tokens: [B, L], labels: [B], int64."""
        tokens, labels = tokens.cpu(), labels.cpu()
        size, classes = self.counts.shape
        pairs = tokens * classes + labels[:, None]
        self.counts += torch.bincount(pairs.flatten(), minlength=size * classes).view(size, classes)
        self.images += len(tokens)
        replicates = self.resampled.shape[1]
        if replicates:
            histograms = torch.zeros(len(tokens), size).scatter_add_(1, tokens, torch.ones(tokens.shape))
            weights = torch.from_numpy(self._random.poisson(1.0, (len(tokens), replicates))).float()
            for label in labels.unique():
                mine = labels == label
                self.resampled[label] += weights[mine].T @ histograms[mine]

    def score(self, norm: str = "l1") -> dict[str, float | None]:
        """`value`, and from the replicates `corrected`, `low` and `high` (see Alignment).

        A replicate has fewer different images than the sample, as the sample has fewer than there are: its histograms are
        noisier and its TCAS is lower. So the correction is 2 v - mean, and the interval the basic one, 2 v - q; percentiles
        as they are would lie on the wrong side.
        """
        value = tcas(self.counts, norm)
        if not self.resampled.shape[1]:
            return {"value": value, "corrected": None, "low": None, "high": None}
        samples = [tcas(sample.T, norm) for sample in self.resampled.transpose(0, 1) if sample.any()]
        low, high = np.quantile(samples, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
        corrected = 2 * value - float(np.mean(samples))
        return {"value": value, "corrected": corrected, "low": float(2 * value - high), "high": float(2 * value - low)}


def labelled_images(
    file: TokenizerFile, data: str | Path, split: str, images: int | None, seed: int, batch: int, workers: int
) -> Any:
    """A loader of a split's images as the tokenizer was fitted on them; of `images` drawn by `seed`, or of all.

    Raises:
        UserError: the data are not there or have no classes, or there are fewer images than asked for.
    """
    if unknown := [step.get("type") for step in file.facts["pipeline"] if step.get("type") not in FIXED]:
        raise UserError(
            f"tokenizer {file.path}: expected a pipeline of {', '.join(FIXED)}, found {unknown[0]}; fit it again."
        )
    return image_batches(data, split, file.facts["pipeline"], images, seed, batch, workers)


def measure(
    tokenizer: ClusterTokenizer,
    file: TokenizerFile,
    batches: Any,
    norm: str = "l1",
    replicates: int = 200,
    seed: int = 0,
    progress: Callable[[int, int, float], None] = lambda done, total, rate: None,
) -> Alignment:
    """TCAS of a tokenizer with its centres, on a loader's labelled images, in one pass.

    progress: called after each batch with the images done, their number, and images per second.
    """
    device = tokenizer.centres.device
    facts = file.facts
    preprocessor = MODELS.build(dict(type="ImgDataPreprocessor", mean=facts["mean"], std=facts["std"])).to(device)
    classes = batches.dataset.metainfo["classes"]
    confusion = Confusion(tokenizer.num_centres, len(classes), replicates, seed)
    unreadable, start, total = 0, time.monotonic(), len(batches.dataset)
    for batch in batches:
        whole = whole_images(batch)
        unreadable += len(batch["inputs"]) - len(whole)
        if whole:
            images = preprocessor({"inputs": _stacked([image for image, _ in whole], file)})["inputs"]
            confusion.add(tokenizer(images), torch.cat([sample.gt_label for _, sample in whole]))
        done = confusion.images + unreadable
        progress(done, total, done / max(time.monotonic() - start, 1e-9))
    return Alignment(
        **confusion.score(norm),  # type: ignore[arg-type]
        norm=norm,
        tokens=int((confusion.counts.sum(1) > 0).sum()),
        of=tokenizer.num_centres,
        empty=_empty(confusion.counts),
        images=confusion.images,
        classes=int((confusion.counts.sum(0) > 0).sum()),
        patches=int(confusion.counts.sum()),
        replicates=replicates,
        seed=seed,
        unreadable=unreadable,
    )


def summary(alignment: Alignment, name: str | Path) -> str:
    """What a person wants to know of it."""
    a = alignment
    bootstrap = ""
    if a.corrected is not None:
        bootstrap = (
            f"corrected for the number of images {a.corrected:.4f}, 95 % interval {a.low:.4f} to {a.high:.4f} "
            f"({a.replicates} bootstrap samples of images, seed {a.seed})\n"
        )
    few = f"FEW IMAGES: TCAS is too low below {ENOUGH} for each token\n" if a.needs_more_images else ""
    norm = {"l1": "entry-wise L1", "frobenius": "Frobenius"}[a.norm]
    empty = f"; empty: {_listed(a.empty)}" if a.empty else ""
    unreadable = f"; {a.unreadable:,} damaged images left out" if a.unreadable else ""
    return (
        f"TCAS {a.value:.4f}  {name}  ({norm} norm; {LABEL}; lower: better aligned)\n"
        f"{bootstrap}{few}"
        f"{a.tokens} of {a.of} tokens occur{empty}; {a.images:,} images of {a.classes} classes, {a.patches:,} patches"
        f"{unreadable}"
    )


def _stacked(images: list[Tensor], file: TokenizerFile) -> Tensor:
    sizes = {tuple(image.shape[1:]) for image in images}
    if len(sizes) > 1:
        first, second = ("{} x {}".format(*size) for size in sorted(sizes)[:2])
        raise UserError(
            f"tokenizer {file.path}: it was fitted on images of one size without a crop, found images of {first} and {second} "
            "pixels; give images of one size, or fit it with ResizeCenterCrop."
        )
    return torch.stack(images)


def _empty(counts: Tensor) -> list[int]:
    return (counts.sum(1) == 0).nonzero().flatten().tolist()


def _listed(numbers: Iterable[int], most: int = 20) -> str:
    numbers = list(numbers)
    return ", ".join(map(str, numbers[:most])) + (f" and {len(numbers) - most} more" if len(numbers) > most else "")
