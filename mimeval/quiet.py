"""Third-party warnings and prints that a user can do nothing about, kept off the terminal. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings

# Their deprecations and advice are about their own code; what a user can act on reaches him as a UserError.
THIRD_PARTY = (
    "mmengine mmcv mmdet mmseg mmpretrain timm torch torchvision numpy scipy sklearn matplotlib PIL cv2 "
    "imgaug imaug skimage pycocotools mlxtend tensorboard google pkg_resources transformers huggingface_hub onnxscript onnx_ir"
).split()


def filter_warnings() -> None:
    """Keep warnings of third-party packages off the terminal; those of mimeval stay."""
    for package in THIRD_PARTY:
        warnings.filterwarnings("ignore", module=rf"{package}(\.|$)")
    # Warned with a stack level that points into our call, so that the module filter above does not see them.
    warnings.filterwarnings("ignore", message=".*lr_scheduler.step\\(\\).*before.*optimizer.step\\(\\).*")
    warnings.filterwarnings("ignore", message=".*pin_memory.*no accelerator.*")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # read when cv2 is imported
    for package in THIRD_PARTY:
        logging.getLogger(package).setLevel(logging.ERROR)


class _Nowhere:
    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


def without_prints() -> contextlib.AbstractContextManager:
    """Drop what is printed to stdout inside, as pycocotools does; mimeval's own progress goes to stderr."""
    return contextlib.redirect_stdout(_Nowhere())  # type: ignore[type-var]
