"""Cluster targets: which of K centres a patch is nearest to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mimeval.backbones.positions import Grid
from mimeval.pretrain.targets.base import Target
from mimeval.pretrain.tokenizers.tokenizer import ClusterTokenizer
from mimeval.registry import MODELS

Config = dict


@MODELS.register_module()
class ClusterTarget(Target):
    """Tokens of the same crop's patches, from the whole image and without gradients (ClusterMIM, 2407.09087).

    The tokenizer is no part of the model: neither its centres nor its backbone are in the state dict, in the optimiser or
    known to DistributedDataParallel; they come from their own files in every run (official code registers it and has to
    strip `tokenizer.*`). What was read, `input_files()`, is noted in checkpoints.

    Args:
        tokenizer: a ClusterTokenizer.
        centres: file that `mimeval tokenize fit` wrote, read by `init_weights`. None: random centres, in order to measure
            what a step costs.
        allow_empty: accept centres that had no patch when they were fitted; the decoder never sees these classes.
    """

    discrete = True

    def __init__(self, tokenizer: Config, centres: str | None, allow_empty: bool = False) -> None:
        super().__init__()
        # In a tuple, where torch does not find it.
        self._tokenizer: tuple[ClusterTokenizer] = (MODELS.build(tokenizer),)
        # K, the number of classes that the decoder tells apart.
        self.dim = self.tokenizer.num_centres
        self.centres, self.allow_empty = centres, allow_empty
        self._inputs: dict[str, str] = {}
        self._is_read = False

    @property
    def tokenizer(self) -> ClusterTokenizer:
        return self._tokenizer[0]

    def grid(self, image_size: Grid) -> Grid:
        """As in Target: one token for each patch."""
        return self.tokenizer.vectors.grid(image_size)

    def init_weights(self) -> None:
        """Read the tokenizer's files. Raises UserError if they do not fit the config or each other."""
        self._is_read = True
        if self.centres is None:
            generator = torch.Generator().manual_seed(0)
            self.tokenizer.centres.copy_(torch.randn(self.tokenizer.centres.shape, generator=generator))
            return
        self.tokenizer.vectors.init_weights()
        file = self.tokenizer.load(self.centres, self.allow_empty)
        self._inputs = {"file": str(self.centres), "sha256": file.sha256}

    def input_files(self) -> dict[str, str]:
        """The file of the centres and its SHA-256; its header has that of the tokenizer's backbone, which was compared."""
        return self._inputs

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        # `model.to(device)` comes through here; the tokenizer is no child, so it is moved by hand.
        self.tokenizer._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def forward(self, images: Tensor) -> Tensor:
        """images [B, 3, H, W], ImageNet-normalised -> tokens [B, L], int64. Raises RuntimeError before init_weights()."""
        if not self._is_read:
            raise RuntimeError(
                "ClusterTarget has no centres yet: call init_weights(), as the runner does before it trains"
            )
        return self.tokenizer(images)
