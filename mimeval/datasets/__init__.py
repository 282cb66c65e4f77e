"""Data: layout checks, images, transforms, keyed sampling and the demo set. Importing it registers the classes."""

from mimeval.datasets.images import ImageFolder
from mimeval.datasets.sampler import KeyedSampler, SampleKey
from mimeval.datasets.seeded import SeededDataset
from mimeval.datasets.transforms import LoadRGB, PackImages, RandomFlip, RandomResizedCrop, ResizeCenterCrop

__all__ = [
    "ImageFolder",
    "KeyedSampler",
    "LoadRGB",
    "PackImages",
    "RandomFlip",
    "RandomResizedCrop",
    "ResizeCenterCrop",
    "SampleKey",
    "SeededDataset",
]
