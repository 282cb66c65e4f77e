"""Random numbers as a pure function: of a sample key (seed, epoch, index) on any device in any batch, and of a training step."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_LOW_32 = 0xFFFFFFFF


def uniform(keys: Tensor, n: int) -> Tensor:
    """Uniform numbers [B, n], float32 in [0, 1); row b depends on ``keys[b]`` = (seed, epoch, index) alone.

    keys: [B, 3], int64, else ValueError. The i-th number of a row does not depend on n. Numbers have 24 bits, so two of
    a row can be equal: sort them with ``stable=True`` where devices must agree. Philox4x32-10 (Salmon et al., SC 2011).
    """
    if keys.dtype != torch.int64 or keys.ndim != 2 or keys.shape[1] != 3:
        raise ValueError(f"keys must be int64 of shape [B, 3], found {keys.dtype} of shape {list(keys.shape)}")
    seed, epoch, index = (keys[:, column, None] for column in range(3))
    blocks = torch.arange((n + 3) // 4, device=keys.device)[None].expand(len(keys), -1)
    # Every bit of seed and index and 32 bits of epoch enter, so no two keys of one run share a stream.
    counter = (blocks, epoch & _LOW_32, index & _LOW_32, (index >> 32) & _LOW_32)
    words = philox4x32(counter, (seed & _LOW_32, (seed >> 32) & _LOW_32))
    bits = torch.stack(torch.broadcast_tensors(*words), dim=-1).flatten(1)[:, :n]
    # 24 bits fit a float32 exactly, so nothing is rounded and 1 is never reached.
    return (bits >> 8).to(torch.float32) * 2.0**-24


def philox4x32(
    counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ten rounds of Philox4x32 on int64 tensors of unsigned 32-bit words (Salmon et al., SC 2011, section 3.3)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # As int64 the product wraps around to the bits of the unsigned 64-bit product; masking drops the sign.
        product0, product1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (
            ((product1 >> 32) & _LOW_32) ^ c1 ^ k0,
            product1 & _LOW_32,
            ((product0 >> 32) & _LOW_32) ^ c3 ^ k1,
            product0 & _LOW_32,
        )
        k0, k1 = (k0 + 0x9E3779B9) & _LOW_32, (k1 + 0xBB67AE85) & _LOW_32
    return c0, c1, c2, c3


def numpy_generator(key: Sequence[int]) -> np.random.Generator:
    """A numpy generator that depends on ``key`` = (seed, epoch, index) alone; its numbers differ from ``uniform``'s."""
    seed, epoch, index = (int(part) % 2**64 for part in key)
    # Drawing advances the first counter word only (2**64 draws), so streams of different keys never meet.
    return np.random.Generator(np.random.Philox(key=[seed, 0], counter=[0, 0, epoch, index]))


def seed_step(seed: int, rank: int, iteration: int) -> None:
    """Seed python, numpy and torch (every device) for one training step, which then depends on these three numbers alone.

    Drop path, dropout, Mixup and the samplers of a detector draw from these global states; so a run that goes on at any
    iteration needs no stored state. Data are not touched: their numbers come from sample keys.
    """
    # A spawn key of its own: without it, rank and iteration would give the numbers of the sample key (seed, epoch, index).
    words = np.random.SeedSequence([seed, rank, iteration], spawn_key=(1,)).generate_state(4)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.manual_seed(int(words[2]) << 32 | int(words[3]))
