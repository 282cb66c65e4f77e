"""What exists only while pre-training: one model with slots, and the parts that fill them."""

from mimeval.pretrain.decoders import LinearDecoder, MAEDecoder
from mimeval.pretrain.encoding import SubstitutedTokens, VisibleTokens
from mimeval.pretrain.local_decoders import LocalMIMDecoder
from mimeval.pretrain.losses import MaskedCrossEntropy, MaskedL1, MaskedMSE
from mimeval.pretrain.mask_token import MaskTokenOptimization
from mimeval.pretrain.masking import BlockMasking, ParallelMasking, RandomMasking
from mimeval.pretrain.masks import Masks
from mimeval.pretrain.model import MaskedImageModel
from mimeval.pretrain.regularizers import SelfConsistency
from mimeval.pretrain.sparse_swin import SparseWindows
from mimeval.pretrain.targets import ClusterTarget, HOGTarget, PixelTarget
from mimeval.pretrain.tokenizers import BackbonePatches, ClusterTokenizer, PixelPatches

__all__ = [
    "BackbonePatches",
    "BlockMasking",
    "ClusterTarget",
    "ClusterTokenizer",
    "HOGTarget",
    "LinearDecoder",
    "LocalMIMDecoder",
    "MaskTokenOptimization",
    "MAEDecoder",
    "MaskedCrossEntropy",
    "MaskedImageModel",
    "MaskedL1",
    "MaskedMSE",
    "Masks",
    "ParallelMasking",
    "PixelPatches",
    "PixelTarget",
    "RandomMasking",
    "SelfConsistency",
    "SparseWindows",
    "SubstitutedTokens",
    "VisibleTokens",
]
