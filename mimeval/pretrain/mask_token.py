"""The mask-token slot: what is asked of mask tokens beyond the reconstruction of what they stand for (MTO, 2404.08330)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mimeval.backbones.positions import Grid
from mimeval.backbones.watch import BlockWatch, attention_rows
from mimeval.errors import UserError
from mimeval.pretrain.decoders import Decoder
from mimeval.pretrain.encoding import Encoding
from mimeval.pretrain.heterogeneity import Sequences, Watches, similarity_entropy
from mimeval.pretrain.masking import Masking
from mimeval.pretrain.masks import Masks
from mimeval.registry import MODELS

CAVEAT = (
    "MTO is a reconstruction here (experimental): the paper's equations and constants are not known, every constant is "
    "assumed, and no figure of the paper can be expected; see docs/methods.md"
)


@MODELS.register_module()
class MaskTokenOptimization(nn.Module):
    """MTO on whatever host (2404.08330): three losses on top of the host's, and a recalibrated attention. EXPERIMENTAL.

    A reconstruction from the paper's abstract and public summaries, not the paper (docs/methods.md says what is known). A site
    is the run of blocks in which mask tokens meet visible ones: the encoder with SubstitutedTokens, else every decoder. With
    E^l the heterogeneity before block l of its n (heterogeneity.py), V visible patches, M mask tokens, attn^l of block l:

        L_e    = 1 - E^0                                                      unlike all that is visible, to begin with
        L_r    = sum over l = 0 .. n - 1 of max(E^{l+1} - E^l + margin, 0)    less and less so with depth
        L_spa  = mean over early blocks, heads, v in V of sum over m in M of attn^l_vm
        recalibration: attn^l_vm = 0 for each m whose own entropy at block l is above the threshold, rows renormalised

    each the mean over images, parts and sites. It adds no parameters; with all weights 0 and no threshold it is the host, bit
    for bit. No constant has a default: none is published, and a config says which were assumed.

    Args:
        w_spa, w_e, w_r: weights of the losses, which are logged as loss_spa, loss_e and loss_r; 0 leaves one out.
        temperature: of the softmax of similarities (cosines).
        margin: of L_r, in units of E.
        early: share of a site's blocks, from the first, that L_spa reads; at least one block.
        threshold: of the recalibration, 0..1; None for none.

    Raises:
        UserError: a constant out of its range.
    """

    caveat = CAVEAT
    takes_blocks_apart = False  # whether it calls parts of the backbone's blocks: see engine/sharding.py

    def __init__(
        self,
        w_spa: float,
        w_e: float,
        w_r: float,
        temperature: float,
        margin: float,
        early: float,
        threshold: float | None,
    ) -> None:
        super().__init__()
        for name, value in (("w_spa", w_spa), ("w_e", w_e), ("w_r", w_r), ("margin", margin)):
            if not value >= 0:
                raise UserError(f"mask_token.{name} must be 0 or more, not {value}: 0 leaves the term out.")
        if not temperature > 0:
            raise UserError(f"mask_token.temperature must be above 0, not {temperature}: it divides cosines.")
        if not 0 < early <= 1:
            raise UserError(f"mask_token.early must be above 0 and at most 1, the share of blocks, not {early}.")
        if threshold is not None and not 0 <= threshold <= 1:
            raise UserError(
                f"mask_token.threshold must lie between 0 and 1, as the entropy does, not {threshold}: None for no "
                "recalibration."
            )
        self.w_spa, self.w_e, self.w_r = w_spa, w_e, w_r
        self.temperature, self.margin, self.early, self.threshold = temperature, margin, early, threshold

    @property
    def is_active(self) -> bool:
        """Whether it changes the host at all."""
        return bool(self.w_spa or self.w_e or self.w_r) or self.threshold is not None

    def check(self, encoding: Encoding, decoders: Sequence[Decoder], masking: Masking, cells: Grid) -> None:
        """Raise UserError where mask tokens cannot be read, or there is nothing that they could resemble."""
        if encoding.complete and not encoding.watchable:
            raise UserError(
                f"mask_token reads how mask tokens and all visible ones attend to each other, which {type(encoding).__name__} "
                "has in a plain ViT only, not within windows or with a bias of each block: leave mask_token out, or set "
                "the backbone to a VisionTransformer with window_size 0 and rel_pos 'none' or 'shared_bias'."
            )
        for level, decoder in enumerate(() if encoding.complete else decoders):
            if not decoder.watchable:
                raise UserError(
                    f"mask_token needs mask tokens in the encoder or in blocks of every decoder, but decoders.{level} "
                    f"({type(decoder).__name__}) has none and the encoder sees visible patches only: leave mask_token out, "
                    "or give the decoder a depth of 1 or more."
                )
        self.takes_blocks_apart = bool(self.w_spa) and encoding.complete
        # A cell of the masks has as many tokens more as a level's grid is finer.
        coarsest = min(rows * columns for rows, columns in encoding.level_grids)
        shown = min(masking.sizes(cells[0] * cells[1]))
        if (fewest := shown * coarsest // (cells[0] * cells[1])) < 2:
            raise UserError(
                f"mask_token compares mask tokens with at least 2 visible patches, found {fewest}: show more of the image "
                f"in {type(masking).__name__}."
            )

    def watches(self) -> OptimizationWatches | None:
        """What one step is watched by, None where nothing is asked for."""
        return OptimizationWatches(self) if self.is_active else None


class OptimizationWatches(Watches):
    """The watches of one step, and the losses that they read."""

    def __init__(self, settings: MaskTokenOptimization) -> None:
        self.settings = settings
        self.sites: list[OptimizationWatch] = []

    def site(self, masks: Masks, prefix: int, blocks: int) -> BlockWatch:
        """As in Watches."""
        early = max(1, round(blocks * self.settings.early))
        self.sites.append(OptimizationWatch(self.settings, Sequences(masks, prefix), early))
        return self.sites[-1]

    def losses(self) -> dict[str, Tensor]:
        """The weighted losses by name, after the forward pass."""
        mto = self.settings
        terms = {
            "loss_spa": (mto.w_spa, [site.to_mask_tokens() for site in self.sites] if mto.w_spa else []),
            "loss_e": (mto.w_e, [1 - site.entropies[0].mean() for site in self.sites] if mto.w_e else []),
            "loss_r": (mto.w_r, [site.rises(mto.margin) for site in self.sites] if mto.w_r else []),
        }
        return {name: weight * torch.stack(values).mean() for name, (weight, values) in terms.items() if weight}


class OptimizationWatch(BlockWatch):
    """One site's.

    Attributes:
        entropies: E^l [N] as far as the losses need it.
        received: what visible tokens aggregate from mask tokens in each early block, [N].
    """

    def __init__(self, settings: MaskTokenOptimization, sequences: Sequences, early: int) -> None:
        self.settings, self.sequences, self.early = settings, sequences, early
        self.entropies: list[Tensor] = []
        self.received: list[Tensor] = []
        self.depth = 0

    def before(self, block: nn.Module, x: Tensor, attn_mask: Tensor | None) -> Tensor | None:
        """As in BlockWatch."""
        rows = self._read(x)
        if self.settings.threshold is not None:
            attn_mask = self._recalibrated(attn_mask, rows > self.settings.threshold)
        if self.settings.w_spa and self.depth < self.early:
            self.received.append(self._received(block, x, attn_mask))
        self.depth += 1
        return attn_mask

    def after(self, x: Tensor) -> None:
        """As in BlockWatch."""
        if self.settings.w_r:
            self._read(x)

    def to_mask_tokens(self) -> Tensor:
        """L_spa of this site."""
        return torch.stack(self.received).mean()

    def rises(self, margin: float) -> Tensor:
        """L_r of this site."""
        curve = torch.stack(self.entropies)
        return (curve[1:] - curve[:-1] + margin).clamp(min=0).sum(0).mean()

    def _read(self, x: Tensor) -> Tensor:
        # Entropies [N, L] of the tokens; noted where a loss wants them, with gradients only there.
        mto, sequences = self.settings, self.sequences
        wanted = bool(mto.w_r) or (bool(mto.w_e) and self.depth == 0)
        if not wanted and mto.threshold is None:
            return x.new_empty(0)
        with torch.set_grad_enabled(wanted and torch.is_grad_enabled()):
            rows = similarity_entropy(sequences.patches(x), sequences, mto.temperature)
        if wanted:
            self.entropies.append(sequences.over_hidden(rows))
        return rows

    def _recalibrated(self, attn_mask: Tensor | None, exceeding: Tensor) -> Tensor:
        # A weight of 0 before rows are renormalised is a logit of -inf before softmax.
        hidden = self.sequences.hidden.bool()
        unclear = nn.functional.pad(hidden & exceeding, (self.sequences.prefix, 0))
        # The class token, in the prefix, is no visible patch: it looks at all.
        visible = nn.functional.pad(~hidden, (self.sequences.prefix, 0))
        barred = (visible[:, :, None] & unclear[:, None, :])[:, None]
        if attn_mask is None:
            return ~barred
        return attn_mask & ~barred if attn_mask.dtype == torch.bool else attn_mask.masked_fill(barred, -torch.inf)

    def _received(self, block: nn.Module, x: Tensor, attn_mask: Tensor | None) -> Tensor:
        sequences = self.sequences
        weights = attention_rows(block, x, sequences.visible + sequences.prefix, attn_mask)
        received = (weights[..., sequences.prefix :] * sequences.hidden[:, None, None]).sum(-1)
        return sequences.over_visible(received.mean(1))
