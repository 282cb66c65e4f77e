"""Augmentations are a pure function of (seed, epoch, index): workers, ranks and history do not matter."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmpretrain.structures import DataSample
from torch.utils.data import DataLoader

from mimeval.datasets import KeyedSampler, SampleKey, SeededDataset, sampler
from mimeval.datasets.seeded import seeded
from mimeval.errors import UserError


class Noisy:
    """A dataset whose samples are random numbers of all three generators."""

    metainfo = {"classes": ("noise",)}

    def __len__(self):
        return 12

    def __getitem__(self, index):
        numbers = [index, random.random(), float(np.random.rand()), float(np.random.randn()), float(torch.rand(1))]
        return {"inputs": torch.tensor(numbers, dtype=torch.float64), "data_samples": DataSample()}

    def get_data_info(self, index):
        return {"width": index}


def loaded(workers=0, batch_size=3, epoch=0, dataset=None):
    """Samples of one epoch by key."""
    dataset = dataset or SeededDataset(Noisy())
    keyed = KeyedSampler(dataset, seed=5)
    keyed.set_epoch(epoch)
    loader = DataLoader(dataset, batch_size, sampler=keyed, num_workers=workers, collate_fn=pseudo_collate)
    batches = [
        (x, sample) for batch in loader for x, sample in zip(batch["inputs"], batch["data_samples"], strict=True)
    ]
    return {sample.sample_key: x for x, sample in batches}


def same(left, right):
    assert left.keys() == right.keys()
    return all(torch.equal(left[key], right[key]) for key in left)


def test_workers_do_not_change_samples():
    assert same(loaded(workers=0), loaded(workers=2))


def test_ranks_do_not_change_samples(monkeypatch):
    one = loaded()
    ranks = {}
    for rank in range(2):
        monkeypatch.setattr(sampler, "get_dist_info", lambda rank=rank: (rank, 2))
        ranks |= loaded()
    assert same(one, ranks)


def test_an_epoch_can_be_drawn_without_those_before_it():
    dataset = SeededDataset(Noisy())
    for epoch in range(3):
        history = loaded(epoch=epoch, dataset=dataset)
    assert same(history, loaded(epoch=2))


def test_draws_differ_between_epochs_seeds_and_samples():
    dataset = SeededDataset(Noisy())
    keys = [SampleKey(0, 0, 1), SampleKey(0, 1, 1), SampleKey(1, 0, 1), SampleKey(0, 0, 2)]
    numbers = [tuple(dataset[key]["inputs"][1:].tolist()) for key in keys]
    for generator in range(4):
        assert len({draw[generator] for draw in numbers}) == 4


def state():
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def test_the_main_process_keeps_its_random_states():
    np.random.randn()  # leaves a cached normal deviate behind, which belongs to the state
    before = state()
    SeededDataset(Noisy())[SampleKey(0, 0, 1)]
    after = state()
    assert after[0] == before[0]
    assert all(np.array_equal(a, b) for a, b in zip(after[1], before[1], strict=True))
    assert torch.equal(after[2], before[2])


def test_the_states_are_put_back_after_an_error():
    before = random.getstate()
    with pytest.raises(ZeroDivisionError), seeded(SampleKey(0, 0, 0)):
        random.random()
        raise ZeroDivisionError
    assert random.getstate() == before


def test_a_plain_index_is_passed_on():
    torch.manual_seed(0)
    first = SeededDataset(Noisy())[3]
    assert first["inputs"][0] == 3 and "sample_key" not in first["data_samples"].metainfo_keys()
    assert not torch.equal(first["inputs"], SeededDataset(Noisy())[3]["inputs"])


def test_questions_are_forwarded():
    dataset = SeededDataset(Noisy())
    assert len(dataset) == 12 and dataset.metainfo == Noisy.metainfo
    assert dataset.get_data_info(SampleKey(0, 0, 4)) == dataset.get_data_info(4) == {"width": 4}


def test_a_pipeline_that_does_not_pack_is_named():
    with pytest.raises(UserError, match="data_samples"):
        SeededDataset([{"img": 0}])[SampleKey(0, 0, 0)]
