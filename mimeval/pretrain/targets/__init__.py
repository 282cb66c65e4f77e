"""The target slot: what the decoder predicts."""

from mimeval.pretrain.targets.pixel import PixelTarget

__all__ = ["PixelTarget"]
