"""Data: layout checks, images, transforms, keyed sampling and the demo set. Importing it registers the classes."""

from mimeval.datasets.augment import ClippedResizedCrop, RandAugment, RandomErasing
from mimeval.datasets.images import ImageFolder
from mimeval.datasets.instances import FixedSizeCrop, LoadInstances, ResizeScale
from mimeval.datasets.sampler import KeyedSampler, SampleKey
from mimeval.datasets.seeded import SeededDataset
from mimeval.datasets.transforms import LoadRGB, PackImages, RandomFlip, RandomResizedCrop, ResizeCenterCrop

__all__ = [
    "ClippedResizedCrop",
    "FixedSizeCrop",
    "ImageFolder",
    "KeyedSampler",
    "LoadInstances",
    "LoadRGB",
    "PackImages",
    "RandAugment",
    "RandomErasing",
    "RandomFlip",
    "RandomResizedCrop",
    "ResizeCenterCrop",
    "ResizeScale",
    "SampleKey",
    "SeededDataset",
]
