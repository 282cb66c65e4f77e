"""Augmentations as a pure function of (seed, epoch, index), whatever the workers, the ranks, the resumes and damaged files."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

from mimeval.datasets.damaged import METAINFO, MOST_IN_A_ROW, Damage
from mimeval.datasets.sampler import SampleKey
from mimeval.errors import DamagedSample, UserError
from mimeval.registry import DATASETS


@contextmanager
def seeded(key: SampleKey) -> Iterator[None]:
    """Seed python, numpy and torch (CPU) from the key; in the main process, put back the global states on leaving."""
    # A worker's state is nobody else's, and saving numpy's costs more than decoding a small image.
    restore = get_worker_info() is None
    before = (random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state()) if restore else None
    words = np.random.SeedSequence(list(key)).generate_state(4)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    # The CPU generator only: torch.manual_seed would also reach for CUDA, which forked workers must not touch.
    torch.default_generator.manual_seed(int(words[2]) << 32 | int(words[3]))
    try:
        yield
    finally:
        if before is not None:
            random.setstate(before[0])
            np.random.set_state(before[1])
            torch.set_rng_state(before[2])


@DATASETS.register_module()
class SeededDataset:
    """Wraps a dataset: a SampleKey seeds its pipeline and ends up as `sample_key` in data_samples' metainfo.

    In place of a sample with a damaged file comes the next one that can be read, index + 1, index + 2, ... modulo the
    size, augmented by the same key; its metainfo `damaged` says so. A plain int seeds nothing.

    Raises:
        UserError: a keyed sample comes out without data_samples, or no sample can be read.
    """

    def __init__(self, dataset: Mapping[str, Any] | Any) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, Mapping) else dataset

    def __getitem__(self, key: SampleKey | int) -> dict:
        if not isinstance(key, SampleKey):
            return self._readable(key, None)
        data = self._readable(key.index, key)
        if "data_samples" not in data:
            raise UserError(
                f"SeededDataset expects the pipeline of {type(self.dataset).__name__} to return data_samples, "
                f"found {sorted(data)}: end the pipeline with PackImages or another Pack transform"
            )
        data["data_samples"].set_metainfo({"sample_key": tuple(key)})
        return data

    def _readable(self, index: int, key: SampleKey | None) -> dict:
        damaged: list[DamagedSample] = []
        for place in range(min(len(self), MOST_IN_A_ROW)):
            try:
                with seeded(key) if key is not None else nullcontext():
                    data = self.dataset[(index + place) % len(self) if place else index]
            except DamagedSample as error:
                damaged.append(error)
                continue
            if damaged and "data_samples" in data:
                sample = data["data_samples"]
                done = f"replaced by {sample.metainfo.get('img_path', f'index {(index + place) % len(self)}')}"
                found = tuple(tuple(Damage(error.file, done, error.reason)) for error in damaged)
                sample.set_metainfo({METAINFO: found})
            return data
        raise UserError(f"no sample can be read, {len(damaged)} tried in a row, of which the first: {damaged[0]}")

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def metainfo(self) -> dict:
        """Classes, palette and the like of the wrapped dataset."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Read the wrapped dataset's annotations, if it has not done so."""
        if hasattr(self.dataset, "full_init"):
            self.dataset.full_init()

    def get_data_info(self, key: SampleKey | int) -> dict:
        """Annotation of one sample; batch samplers that group by aspect ratio ask with the sampler's keys."""
        return self.dataset.get_data_info(key.index if isinstance(key, SampleKey) else key)

    def get_cat_ids(self, key: SampleKey | int) -> list[int]:
        """Category ids in one sample, for class-balanced wrappers."""
        return self.dataset.get_cat_ids(key.index if isinstance(key, SampleKey) else key)
