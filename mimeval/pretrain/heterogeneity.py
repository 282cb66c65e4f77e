"""Token heterogeneity: how little a mask token resembles any visible token in particular, at every depth (MTO, 2404.08330).

A reconstruction: the paper speaks of a measure "based on entropy"; its formula is not known here (docs/methods.md).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimeval.backbones.watch import BlockWatch
from mimeval.pretrain.masks import Masks


class Sequences:
    """Which tokens of N = B * K watched sequences are visible and which are mask tokens.

    Args:
        masks: on the grid of the sequence's patches, L cells.
        prefix: tokens before the patches (1 with a class token).

    Attributes:
        hidden: [N, L] float, 1 for a mask token.
        visible: [N, n] int64, the places of visible patches, from 0 without the prefix.
        valid: [N, n] bool, False for padding, or None.
    """

    def __init__(self, masks: Masks, prefix: int) -> None:
        self.prefix = prefix
        self.hidden = masks.mask.flatten(0, 1)
        self.visible = masks.ids_keep.flatten(0, 1)
        self.valid = None if masks.key_valid is None else masks.key_valid.flatten(0, 1)

    def patches(self, x: Tensor) -> Tensor:
        """[N, prefix + L, ..] -> [N, L, ..]."""
        return x[:, self.prefix :]

    def over_hidden(self, values: Tensor) -> Tensor:
        """The mean of [N, L] over each sequence's mask tokens, [N]."""
        return (values * self.hidden).sum(1) / self.hidden.sum(1)

    def over_visible(self, values: Tensor) -> Tensor:
        """The mean of [N, n] over each sequence's visible tokens, [N]."""
        if self.valid is None:
            return values.mean(1)
        return (values * self.valid).sum(1) / self.valid.sum(1)


def similarity_entropy(tokens: Tensor, sequences: Sequences, temperature: float) -> Tensor:
    """The entropy of every token's similarity to the visible ones, [N, L] in 0..1, float32 (only rows of mask tokens mean much).

    With z the tokens [N, L, D] at length 1 and V the visible ones, row i of A = softmax(z_i z_V^T / temperature) has the
    entropy -sum_j A_ij log A_ij, here over its maximum log |V|: 1 if the token resembles all of V alike, 0 if one alone.
    """
    with torch.autocast(tokens.device.type, enabled=False):
        unit = F.normalize(tokens.float(), dim=-1)
        visible = unit.gather(1, sequences.visible[..., None].expand(-1, -1, unit.shape[-1]))
        logits = unit @ visible.mT / temperature
        valid = sequences.valid
        if valid is None:
            log_rows = logits.log_softmax(-1)
            return -(log_rows.exp() * log_rows).sum(-1) / math.log(logits.shape[-1])
        log_rows = logits.masked_fill(~valid[:, None], -torch.inf).log_softmax(-1).masked_fill(~valid[:, None], 0)
        entropy = -(log_rows.exp() * valid[:, None] * log_rows).sum(-1)
        return entropy / valid.sum(-1, keepdim=True).float().log()


def heterogeneity(tokens: Tensor, sequences: Sequences, temperature: float) -> Tensor:
    """E of each sequence, [N] in 0..1: the mean of similarity_entropy over its mask tokens."""
    return sequences.over_hidden(similarity_entropy(tokens, sequences, temperature))


class Watches:
    """Base of what a step's encoding and decoders are handed to be watched by: each asks for a watch of its own blocks."""

    def site(self, masks: Masks, prefix: int, blocks: int) -> BlockWatch:
        """A watch of `blocks` blocks in which mask tokens meet visible ones; masks, prefix: as in Sequences."""
        raise NotImplementedError


class HeterogeneityWatches(Watches):
    """Records E before each block and after the last one, and changes nothing.

    Args:
        temperature: of similarity_entropy.
        inner: the watches that the model itself would be given, whose masks are kept.

    Attributes:
        curves: for each site a list of E^l [N], l = 0 .. its number of blocks.
    """

    def __init__(self, temperature: float, inner: Watches | None = None) -> None:
        self.temperature, self.inner = temperature, inner
        self.curves: list[list[Tensor]] = []

    def site(self, masks: Masks, prefix: int, blocks: int) -> BlockWatch:
        """As in Watches."""
        self.curves.append([])
        inner = BlockWatch() if self.inner is None else self.inner.site(masks, prefix, blocks)
        return _HeterogeneityWatch(self.curves[-1], Sequences(masks, prefix), self.temperature, inner)


class _HeterogeneityWatch(BlockWatch):
    def __init__(self, curve: list[Tensor], sequences: Sequences, temperature: float, inner: BlockWatch) -> None:
        self.curve, self.sequences, self.temperature, self.inner = curve, sequences, temperature, inner

    def before(self, block: nn.Module, x: Tensor, attn_mask: Tensor | None) -> Tensor | None:
        self._note(x)
        return self.inner.before(block, x, attn_mask)

    def after(self, x: Tensor) -> None:
        self._note(x)
        self.inner.after(x)

    @torch.no_grad()
    def _note(self, x: Tensor) -> None:
        self.curve.append(heterogeneity(self.sequences.patches(x), self.sequences, self.temperature))
