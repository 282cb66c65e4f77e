"""Images of a data folder for an analysis: a part of them drawn by a seed, read once, damaged ones set apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import init_default_scope
from torch import Tensor

from mimeval.datasets.damaged import METAINFO
from mimeval.datasets.images import ImageFolder
from mimeval.datasets.paths import layout_root, part_of
from mimeval.engine.strict_runner import StrictRunner
from mimeval.errors import UserError


def image_batches(
    data: str | Path,
    split: str,
    pipeline: list[dict],
    images: int | None,
    seed: int,
    batch: int,
    workers: int,
    with_label: bool = True,
) -> Any:
    """A loader of a split's images through `pipeline`; of `images` drawn by `seed`, or of all. Batches are lists, in order.

    Raises:
        UserError: the data are not there or have no classes, or there are fewer images than asked for.
    """
    init_default_scope("mimeval")
    folder = part_of(layout_root(data, "imagenet"), "imagenet", split)
    settings: dict[str, Any] = dict(folder=str(folder), with_label=with_label)
    chosen = None
    if images is not None:
        total = len(ImageFolder(**settings))
        if images > total:
            raise UserError(f"--images {images}: expected at most the {total} images of {folder}; ask for fewer.")
        chosen = sorted(np.random.default_rng(seed).permutation(total)[:images].tolist())
    return StrictRunner.build_dataloader(
        dict(
            batch_size=batch,
            num_workers=workers,
            collate_fn=dict(type="pseudo_collate"),
            sampler=dict(type="DefaultSampler", shuffle=False),
            dataset=dict(type="ImageFolder", **settings, indices=chosen, pipeline=pipeline),
        )
    )


def whole_images(batch: dict[str, Any]) -> list[tuple[Tensor, Any]]:
    """(image, sample) of a batch's images that could be read; a damaged one comes as a black one, perhaps of another size."""
    pairs = zip(batch["inputs"], batch["data_samples"], strict=True)
    return [(image, sample) for image, sample in pairs if METAINFO not in sample.metainfo]
