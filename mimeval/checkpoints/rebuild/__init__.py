"""Libraries' own classes, built from an architecture and given a file strictly: a function for each family that has one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .case import Case, Run, Unable, as_map, filled, parameters_later
from .hugging_face import hugging_face
from .openmmlab import mm_swin, mmpretrain_beit, mmpretrain_vit, mmseg_plain
from .timm import timm_eva02, timm_swin, timm_vit

__all__ = ["REBUILDERS", "Case", "Run", "Unable", "as_map", "filled", "parameters_later"]

REBUILDERS: dict[str, Callable[[Case], tuple[str, Run]]] = {
    "timm_vit": timm_vit,
    "timm_swin": timm_swin,
    "timm_eva02": timm_eva02,
    "hf_vit": partial(hugging_face, kind="ViT", prefix="vit."),
    "hf_vitmae": partial(hugging_face, kind="ViTMAE", prefix="vit."),
    "hf_dinov2": partial(hugging_face, kind="Dinov2", prefix="dinov2."),
    "hf_swin": partial(hugging_face, kind="Swin", prefix="swin."),
    "mmpretrain_vit": mmpretrain_vit,
    "mmpretrain_beit": mmpretrain_beit,
    "mmpretrain_swin": partial(mm_swin, library="mmpretrain"),
    "mmseg_vit": partial(mmseg_plain, kind="VisionTransformer"),
    "mmseg_mae": partial(mmseg_plain, kind="MAE"),
    "mmseg_beit": partial(mmseg_plain, kind="BEiT"),
    "mmseg_swin": partial(mm_swin, library="mmseg"),
}
