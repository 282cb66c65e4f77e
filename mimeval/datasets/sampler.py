"""What is drawn when: a permutation per (seed, epoch), dealt out to ranks, each draw carrying its own key."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sized
from typing import NamedTuple

import numpy as np
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from mimeval.errors import UserError
from mimeval.registry import DATA_SAMPLERS


class SampleKey(NamedTuple):
    """One draw of one sample; augmentations and masks are a pure function of these three numbers."""

    seed: int
    epoch: int
    index: int  # type: ignore[assignment]  # tuple.index is never asked for


@DATA_SAMPLERS.register_module()
class KeyedSampler(Sampler):
    """Yields a SampleKey per draw: positions rank, rank + world, ... of the epoch's permutation.

    The union over ranks of the t-th batch is the same set of keys for any world size with the same total batch.
    `infinite=True` (iteration-based loops) runs through epoch after epoch, and `len` is that of the dataset.

    Raises:
        UserError: the dataset cannot take a SampleKey (it is not wrapped in SeededDataset).
    """

    def __init__(self, dataset: Sized, seed: int | None = None, shuffle: bool = True, infinite: bool = False) -> None:
        if isinstance(dataset, BaseDataset | ConcatDataset | RepeatDataset):
            raise UserError(
                f"KeyedSampler needs a dataset that takes sample keys, found {type(dataset).__name__}: "
                "write dataset=dict(type='SeededDataset', dataset=dict(...)) in the dataloader"
            )
        if len(dataset) == 0:
            raise UserError(
                "KeyedSampler needs at least one sample, found an empty dataset: check its folder and filter"
            )
        if seed is None:
            raise UserError("KeyedSampler needs a seed, found None: set randomness=dict(seed=...) in the config")
        self.dataset = dataset
        self.seed = int(seed)
        self.shuffle = shuffle
        self.infinite = infinite
        self.rank, self.world_size = get_dist_info()
        self.epoch = 0
        self._start = 0

    def _epoch_keys(self, epoch: int) -> Iterator[SampleKey]:
        size = len(self.dataset)
        # A seed sequence keeps (seed 0, epoch 1) and (seed 1, epoch 0) apart, which `seed + epoch` does not.
        order = np.random.default_rng([self.seed, epoch]).permutation(size) if self.shuffle else np.arange(size)
        for index in order.tolist():
            yield SampleKey(self.seed, epoch, index)

    def __iter__(self) -> Iterator[SampleKey]:
        if self.infinite:
            passes, offset = divmod(self.rank + self._start * self.world_size, len(self.dataset))
            epochs = itertools.count(self.epoch + passes)
            keys = itertools.chain.from_iterable(self._epoch_keys(epoch) for epoch in epochs)
            return itertools.islice(keys, offset, None, self.world_size)
        # Every rank needs as many draws as the others, or a collective would wait for ever: repeat from the start.
        padded = itertools.cycle(self._epoch_keys(self.epoch))
        first = self.rank + self._start * self.world_size
        return itertools.islice(padded, first, max(first, len(self) * self.world_size), self.world_size)

    def __len__(self) -> int:
        size = len(self.dataset)
        return size if self.infinite else -(-size // self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration draws, all of it; no draw of an earlier epoch is needed."""
        if epoch != self.epoch:
            self.epoch, self._start = epoch, 0

    def skip(self, num_samples: int) -> None:
        """Leave out the first `num_samples` draws of this rank, counted from the epoch's first: how a loop resumes without loading.

        `len` is that of the whole epoch all the same. The next `set_epoch` to another epoch, or `skip(0)`, ends it.
        """
        if num_samples < 0:
            raise ValueError(f"num_samples must not be negative, found {num_samples}")
        self._start = num_samples
