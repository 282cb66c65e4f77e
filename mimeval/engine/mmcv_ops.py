"""Stands in for ``mmcv._ext`` where mmcv has no compiled operators, so that nothing has to be compiled.

NMS and RoIAlign are torchvision's own operators; any other operator raises an error that names it when it is called.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
import torchvision  # noqa: F401  (registers torch.ops.torchvision)
from torch import Tensor

from mimeval.errors import UserError

EXTENSION = "mmcv._ext"
# Modules that replace operators by None or a failing function when they are imported without mmcv.ops.
IMPORT_ONCE = ("mmdet.models", "mmdet.structures.mask", "mmseg.models")


def install() -> None:
    """Serve ``mmcv._ext`` from here if importing finds no compiled one, which always wins. May be called again.

    Raises UserError if mmdet or mmseg were imported before and have given up on the operators.
    """
    if "mmcv.ops" not in sys.modules and (early := [name for name in IMPORT_ONCE if name in sys.modules]):
        raise UserError(
            f"mmcv operators: expected mimeval.engine.mmcv_ops.install() before the first import of {early[0]}, found "
            "that imported without operators; call install() (or setup_environment()) first"
        )
    if not any(isinstance(finder, _StandInFinder) for finder in sys.meta_path):
        # Last in the list: it is asked only after Python has failed to find a compiled module.
        sys.meta_path.append(_StandInFinder())


class _StandInFinder:
    """Import finder and loader of the one module ``mmcv._ext``."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != EXTENSION:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=__name__)  # type: ignore[arg-type]

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        for function in (nms, roi_align_forward, roi_align_backward, get_compiler_version, get_compiling_cuda_version):
            setattr(module, function.__name__, function)


class StandIn(ModuleType):
    """A module that has every operator by name, because mmcv checks for all of them when it is imported."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*args: Any, **kwargs: Any) -> Any:
            raise _not_available(name)

        missing.__name__ = name
        return missing


def _not_available(name: str) -> UserError:
    return UserError(
        f"mmcv operator '{name}' is missing: expected a compiled mmcv, found the pure Python one, for which mimeval "
        "provides nms and roi_align only; install an mmcv with compiled operators or choose a model without this one"
    )


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices kept, by falling score; boxes: [N, 4] as x1, y1, x2, y2, whose width is x2 - x1 + offset; scores: [N]."""
    if boxes.numel() == 0:
        return boxes.new_empty(0, dtype=torch.long)
    boxes, scores = _computable(boxes), _computable(scores)
    if offset:
        # Moving the far corner by the offset gives every width, height and intersection exactly its `+ offset`.
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return torch.ops.torchvision.nms(boxes, scores.to(boxes.dtype), iou_threshold)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Writes the RoIAlign of input: [N, C, H, W] at rois: [R, 5] (image, x1, y1, x2, y2) into output: [R, C, h, w]."""
    _require_average(pool_mode)
    features = _computable(input)
    pooled = torch.ops.torchvision.roi_align(
        features, rois.to(features.dtype), spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned
    )
    output.copy_(pooled)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Writes the gradient of ``roi_align_forward`` with respect to its input into grad_input: [N, C, H, W]."""
    _require_average(pool_mode)
    grad = _computable(grad_output)
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(
            grad,
            rois.to(grad.dtype),
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    )


def get_compiler_version() -> str:
    """What mmcv reports as its compiler when it lists the environment."""
    return "not compiled (mimeval stand-in)"


def get_compiling_cuda_version() -> str:
    """What mmcv reports as its CUDA version when it lists the environment."""
    return "not available"


def _require_average(pool_mode: int) -> None:
    if pool_mode != 1:  # mmcv: 0 is max, 1 is average
        raise _not_available("roi_align (pool_mode='max')")


def _computable(tensor: Tensor) -> Tensor:
    # torchvision has no bfloat16 kernels and no half ones on CPU, while autocast hands these over.
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
