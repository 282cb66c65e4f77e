"""The target slot: what the decoder predicts."""

from mimeval.pretrain.targets.cluster import ClusterTarget
from mimeval.pretrain.targets.hog import HOGTarget
from mimeval.pretrain.targets.pixel import PixelTarget

__all__ = ["ClusterTarget", "HOGTarget", "PixelTarget"]
