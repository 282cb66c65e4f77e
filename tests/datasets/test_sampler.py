"""KeyedSampler: permutations by (seed, epoch), dealt out to ranks, and reachable without what went before."""

from __future__ import annotations

import itertools

import pytest
from mmengine.dataset import BaseDataset

from mimeval.datasets import KeyedSampler, SampleKey, sampler
from mimeval.errors import UserError


@pytest.fixture
def world(monkeypatch):
    """Sets the (rank, world size) that the next sampler sees."""
    return lambda rank, size: monkeypatch.setattr(sampler, "get_dist_info", lambda: (rank, size))


def draws(count=None, size=10, epoch=0, skip=0, **kwargs):
    keyed = KeyedSampler(range(size), **{"seed": 7, **kwargs})
    keyed.set_epoch(epoch)
    keyed.skip(skip)
    return list(itertools.islice(keyed, count))


def test_an_epoch_visits_every_sample_once_in_an_order_of_its_own():
    first, second = draws(epoch=0), draws(epoch=1)
    assert sorted(key.index for key in first) == sorted(key.index for key in second) == list(range(10))
    assert [key.index for key in first] != [key.index for key in second]
    assert set(first) & set(second) == set()
    assert all(key[:2] == (7, 1) for key in second)


def test_seed_and_epoch_are_not_added_up():
    assert [key.index for key in draws(seed=0, epoch=1)] != [key.index for key in draws(seed=1, epoch=0)]


def test_without_shuffling_indices_are_in_order():
    assert [key.index for key in draws(shuffle=False)] == list(range(10))


def test_global_batches_do_not_depend_on_the_world_size(world):
    total = 4
    world(0, 1)
    one = draws(size=16)
    world(0, 2)
    left = draws(size=16)
    world(1, 2)
    right = draws(size=16)
    for step in range(4):
        whole = one[step * total : (step + 1) * total]
        halves = left[step * 2 : step * 2 + 2] + right[step * 2 : step * 2 + 2]
        assert sorted(whole) == sorted(halves)


def test_ranks_get_equally_many_draws_by_repeating_the_first(world):
    ranks = []
    for rank in range(4):
        world(rank, 4)
        ranks.append(draws(size=10))
    assert [len(rank) for rank in ranks] == [3, 3, 3, 3]
    dealt = [ranks[position % 4][position // 4] for position in range(12)]
    assert dealt[10:] == dealt[:2]


def test_more_ranks_than_samples(world):
    world(4, 5)
    assert draws(size=2) == draws(size=2)[:1] and len(draws(size=2)) == 1


def test_infinite_runs_on_into_the_next_epoch(world):
    keys = draws(25, infinite=True)
    assert [key.epoch for key in keys] == [0] * 10 + [1] * 10 + [2] * 5
    assert keys[10:20] == draws(epoch=1)


@pytest.mark.parametrize("rank, size", [(0, 1), (1, 3)])
@pytest.mark.parametrize("skip", [0, 3, 10, 17])
def test_skipping_is_the_same_as_drawing(world, rank, size, skip):
    world(rank, size)
    assert draws(5, infinite=True, skip=skip) == draws(skip + 5, infinite=True)[skip:]


@pytest.mark.parametrize("rank, size", [(0, 1), (1, 3), (2, 3)])
@pytest.mark.parametrize("skip", [0, 1, 3, 4])
def test_skipping_in_an_epoch_is_the_same_as_drawing(world, rank, size, skip):
    world(rank, size)
    whole = draws(epoch=2)
    assert draws(epoch=2, skip=skip) == whole[skip:]
    keyed = KeyedSampler(range(10), seed=7)
    keyed.set_epoch(2)
    keyed.skip(skip)
    assert len(keyed) == len(whole), "hooks go by the length of the whole epoch"
    keyed.set_epoch(2)
    assert list(keyed) == whole[skip:]
    keyed.set_epoch(3)
    assert list(keyed) == draws(epoch=3)


def test_more_than_an_epoch_leaves_nothing():
    assert draws(skip=12) == []


def test_length():
    assert len(KeyedSampler(range(10), seed=0)) == len(KeyedSampler(range(10), seed=0, infinite=True)) == 10


def test_a_dataset_that_cannot_take_keys_is_refused():
    dataset = BaseDataset(lazy_init=True)
    with pytest.raises(UserError, match="SeededDataset"):
        KeyedSampler(dataset, seed=0)


def test_an_empty_dataset_and_a_missing_seed_are_refused():
    with pytest.raises(UserError, match="empty"):
        KeyedSampler([], seed=0)
    with pytest.raises(UserError, match="seed"):
        KeyedSampler([1], seed=None)


def test_keys_are_plain_tuples_of_integers():
    key = draws()[0]
    assert isinstance(key, SampleKey) and all(type(number) is int for number in key)
