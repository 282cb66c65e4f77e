"""What exists only while pre-training: one model with slots, and the parts that fill them."""

from mimeval.pretrain.decoders import MAEDecoder
from mimeval.pretrain.losses import MaskedMSE
from mimeval.pretrain.masking import Masks, ParallelMasking, RandomMasking
from mimeval.pretrain.model import MaskedImageModel
from mimeval.pretrain.regularizers import SelfConsistency
from mimeval.pretrain.targets import PixelTarget

__all__ = [
    "MAEDecoder",
    "MaskedImageModel",
    "MaskedMSE",
    "Masks",
    "ParallelMasking",
    "PixelTarget",
    "RandomMasking",
    "SelfConsistency",
]
