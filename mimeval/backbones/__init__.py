"""What transfers: the backbones. Importing this package registers them."""

from .pyramid import SimpleFeaturePyramid, TapPyramid
from .swin import SwinTransformer
from .vit import VisionTransformer

__all__ = ["SimpleFeaturePyramid", "SwinTransformer", "TapPyramid", "VisionTransformer"]
