"""Layouts of ViTDet: detectron2's, and that of mmdetection's project, each with its simple feature pyramid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .architecture import Architecture, State, ViT
from .layouts import ENDS_OF_OURS, MAY_LACK, Library
from .openmmlab import OTHER_PART, PART_ROWS, PARTS, OpenMMLab
from .stored import backbone_config

NAMES = ("pos_embed", "patch_embed.proj.*", "blocks.*")


def pyramid(rows: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Rows of layers, by their names there and those of our SimpleFeaturePyramid below `neck.levels.`."""
    return tuple((f"{theirs}.*", f"neck.levels.{ours}.*") for theirs, ours in rows.items())


# Four levels: scale 4 (two transposed convolutions with a norm and GELU between), 2, 1 and 1/2 (pooling), then two convolutions each.
D2_PYRAMID = pyramid(
    {
        **{f"backbone.simfp_2.{i}": f"0.{i}" for i in (0, 1, 3)},
        "backbone.simfp_2.4.norm": "0.5",
        "backbone.simfp_2.5.norm": "0.7",
        "backbone.simfp_3.0": "1.0",
        "backbone.simfp_3.1.norm": "1.2",
        "backbone.simfp_3.2.norm": "1.4",
        "backbone.simfp_4.0.norm": "2.1",
        "backbone.simfp_4.1.norm": "2.3",
        "backbone.simfp_5.1.norm": "3.2",
        "backbone.simfp_5.2.norm": "3.4",
        "backbone.simfp_2.4": "0.4",
        "backbone.simfp_2.5": "0.6",
        "backbone.simfp_3.1": "1.1",
        "backbone.simfp_3.2": "1.3",
        "backbone.simfp_4.0": "2.0",
        "backbone.simfp_4.1": "2.2",
        "backbone.simfp_5.1": "3.1",
        "backbone.simfp_5.2": "3.3",
    }
)
# Place of the 1 x 1 convolution in each level of ours; its norm, the 3 x 3 one and that one's norm follow.
FIRST = (4, 1, 0, 1)
MM_PYRAMID = pyramid(
    {
        **{f"neck.fpn1.{i}": f"0.{i}" for i in (0, 1, 3)},
        "neck.fpn2.0": "1.0",
        **{
            f"neck.{convs}.{level}.{layer}": f"{level}.{place + offset + step}"
            for level, place in enumerate(FIRST)
            for convs, offset in (("lateral_convs", 0), ("fpn_convs", 2))
            for layer, step in (("conv", 0), ("norm_layer", 1))
        },
    }
)


class ViTDet(Library):
    """detectron2, projects/ViTDet (modeling/backbone/vit.py): `model` in a `.pkl` of numpy arrays, or a `.pth`; `backbone.net.`.

    No class token and no final norm; positions keep a row for the class token and are resized bicubically, tables linearly.
    """

    name = "vitdet"
    package = "detectron2"
    containers = ("model", "state_dict", "")
    signature = ("backbone.net.blocks.*.attn.qkv.weight", "backbone.net.patch_embed.proj.weight")
    foreign = ("backbone.net.cls_token", "*relative_position*", "*rope*", "*.attn.[qv]_bias", "neck.levels.*")
    renames = (
        *((f"backbone.net.{name}", f"backbone.{name}") for name in NAMES),
        *D2_PYRAMID,
        ("proposal_generator.*", "proposal_generator.*"),
        ("roi_heads.*", "roi_heads.*"),
        ("pixel_mean", "pixel_mean"),
        ("pixel_std", "pixel_std"),
    )
    may_lack = MAY_LACK
    may_leave = (
        ("backbone.simfp_*", OTHER_PART),
        ("proposal_generator.*", OTHER_PART),
        ("roi_heads.*", OTHER_PART),
        ("pixel_*", OTHER_PART),
        *ENDS_OF_OURS,
    )
    facts = dict(pos_resample="bicubic")
    writable = True


class MMDetViTDet(OpenMMLab):
    """mmdetection, projects/ViTDet (vitdet/vit.py): the same names as here but for the pyramid, and the same mathematics; epsilon is
    1e-5, mmcv's own, because the project's config leaves it out."""

    name = "vitdet_mmdet"
    package = "mmdetection's projects/ViTDet"
    containers = ("state_dict", "model", "")
    signature = ("backbone.blocks.*.attn.qkv.weight", "backbone.patch_embed.proj.weight", "neck.fpn1.0.weight")
    foreign = (*OpenMMLab.foreign, "backbone.cls_token", "*relative_position*", "*.attn.[qv]_bias")
    renames = (*((f"backbone.{name}", f"backbone.{name}") for name in NAMES), *MM_PYRAMID, *PART_ROWS)
    may_lack = MAY_LACK
    may_leave = (*((f"{part}.*", OTHER_PART) for part in PARTS), *ENDS_OF_OURS)
    facts = dict(norm_eps=1e-5, pos_resample="bicubic")

    def architecture(self, own: State, meta: dict[str, Any]) -> Architecture:
        """As in Family; the config tells which blocks have windows."""
        architecture, config = super().architecture(own, meta), backbone_config(meta)
        windowed = config.get("window_block_indexes")
        if isinstance(architecture, ViT) and isinstance(windowed, list | tuple):
            blocks = tuple(number for number in range(architecture.depth) if number not in windowed)
            architecture = replace(architecture, global_blocks=blocks)
        return architecture
