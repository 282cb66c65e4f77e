"""mimeval: measure what a masked-image-modeling checkpoint transfers to, and pre-train the methods it measures."""

__version__ = "0.1.0"

from mimeval import multimodal

multimodal.leave_out()  # before anything of OpenMMLab is imported
