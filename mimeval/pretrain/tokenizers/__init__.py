"""Tokenizers: discrete tokens of patches, their centres by K-means, and the files that keep them."""

from mimeval.pretrain.tokenizers.tokenizer import (
    ClusterTokenizer,
    TokenizerFile,
    read_tokenizer,
    tokenizer_of,
    write_tokenizer,
)
from mimeval.pretrain.tokenizers.vectors import BackbonePatches, PatchVectors, PixelPatches

__all__ = [
    "BackbonePatches",
    "ClusterTokenizer",
    "PatchVectors",
    "PixelPatches",
    "TokenizerFile",
    "read_tokenizer",
    "tokenizer_of",
    "write_tokenizer",
]
