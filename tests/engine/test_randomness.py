import random

import numpy as np
import pytest
import torch

from mimeval.datasets.sampler import SampleKey
from mimeval.datasets.seeded import seeded
from mimeval.engine.randomness import numpy_generator, philox4x32, seed_step, uniform

# (counter, key, output) of philox4x32-10 in the known-answer tests of Random123, the authors' library.
KNOWN_ANSWERS = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize("counter, key, expected", KNOWN_ANSWERS)
def test_philox_gives_the_known_answers(counter, key, expected):
    words = philox4x32(tuple(map(torch.tensor, counter)), tuple(map(torch.tensor, key)))
    assert [int(word) for word in words] == expected


def keys_of(*keys):
    return torch.tensor(keys, dtype=torch.int64)


def test_a_row_depends_on_its_key_alone():
    keys = torch.stack([torch.full((50,), 7), torch.arange(50) % 5, torch.arange(50)], dim=1)
    rows = uniform(keys, 196)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(uniform(keys[order], 196), rows[order])
    assert torch.equal(uniform(keys[13:14], 196), rows[13:14])
    assert torch.equal(uniform(keys, 49), rows[:, :49])


def test_numbers_are_uniform_and_below_one():
    rows = uniform(torch.stack([torch.zeros(2000), torch.zeros(2000), torch.arange(2000)], 1).long(), 99)
    assert rows.dtype == torch.float32 and rows.shape == (2000, 99)
    assert rows.min() >= 0 and rows.max() < 1
    count = rows.numel()
    assert abs(rows.mean() - 0.5) < 5 * (1 / 12 / count) ** 0.5
    histogram = torch.histc(rows, bins=64, min=0, max=1)
    chi2 = ((histogram - count / 64) ** 2 / (count / 64)).sum()
    assert chi2 < 63 + 5 * (2 * 63) ** 0.5
    # Neither neighbours in a row nor neighbours in the data set are correlated.
    for other in (rows.roll(1, dims=0), rows.roll(1, dims=1)):
        correlation = torch.corrcoef(torch.stack([rows.flatten(), other.flatten()]))[0, 1]
        assert abs(correlation) < 5 / count**0.5


@pytest.mark.parametrize("other", [(2, 2, 3), (1, 3, 3), (1, 2, 4), (2, 1, 3), (1 + 2**32, 2, 3), (1, 2, 3 + 2**32)])
def test_every_part_of_the_key_counts(other):
    ours, theirs = uniform(keys_of((1, 2, 3), other), 1000)
    assert (ours == theirs).sum() < 3
    assert not np.array_equal(numpy_generator((1, 2, 3)).random(8), numpy_generator(other).random(8))


def test_numpy_generator_is_determined_by_its_key():
    assert np.array_equal(numpy_generator((5, 6, 7)).random(100), numpy_generator([5, 6, 7]).random(100))
    drawn = numpy_generator((5, 6, 7)).random(5000)
    assert abs(drawn.mean() - 0.5) < 5 * (1 / 12 / 5000) ** 0.5


@pytest.mark.parametrize("keys", [torch.zeros(4, 2, dtype=torch.int64), torch.zeros(4, 3)])
def test_keys_of_another_shape_or_type_are_refused(keys):
    with pytest.raises(ValueError, match="int64 of shape"):
        uniform(keys, 4)


def step(*numbers):
    """What a step draws from each global state."""
    seed_step(*numbers)
    return random.random(), *np.random.rand(2).tolist(), *torch.rand(2).tolist()


def test_a_step_draws_what_its_seed_rank_and_iteration_say():
    torch.manual_seed(0)
    first = step(3, 1, 5)
    for other in ((3, 1, 6), (3, 0, 5), (4, 1, 5), (3, 5, 1)):
        assert not set(step(*other)) & set(first)
    assert step(3, 1, 5) == first


def test_a_step_and_a_sample_do_not_draw_alike():
    with seeded(SampleKey(3, 1, 5)):
        sample = random.random(), *np.random.rand(2).tolist(), *torch.rand(2).tolist()
    assert not set(sample) & set(step(3, 1, 5))


def test_neighbouring_steps_are_independent():
    drawn = np.array([step(0, 0, iteration) for iteration in range(400)])
    assert abs(drawn.mean() - 0.5) < 0.03
    for column in drawn.T:
        assert abs(np.corrcoef(column[1:], column[:-1])[0, 1]) < 0.2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_step_seeds_the_gpu_too():
    seed_step(1, 0, 9)
    first = torch.rand(8, device="cuda")
    seed_step(1, 0, 9)
    assert torch.equal(torch.rand(8, device="cuda"), first)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_and_cpu_draw_the_same():
    keys = torch.stack([torch.full((64,), 2**40 + 1), torch.arange(64), torch.arange(64) * 977], dim=1)
    assert torch.equal(uniform(keys.cuda(), 197).cpu(), uniform(keys, 197))
