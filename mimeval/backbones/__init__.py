"""What transfers: the backbones. Importing this package registers them."""

from .pyramid import SimpleFeaturePyramid
from .swin import SwinTransformer
from .vit import VisionTransformer

__all__ = ["SimpleFeaturePyramid", "SwinTransformer", "VisionTransformer"]
