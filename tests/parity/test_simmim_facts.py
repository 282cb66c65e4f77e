"""Parity with SimMIM's fine-tuning groups (golden/simmim_facts.json): layer, lr scale, weight decay; Swin and ViT."""

import json
import re
from pathlib import Path

import pytest
from torch import nn

from mimeval.backbones import SwinTransformer, VisionTransformer
from mimeval.engine.layer_decay import LayerDecayOptimWrapperConstructor

FACTS = json.loads((Path(__file__).parent / "golden" / "simmim_facts.json").read_text())["layer_decay"]
SWIN, VIT = (next(case for case in FACTS.values() if case["type"] == kind) for kind in ("swin", "vit"))


def groups_of(backbone, layer_decay):
    model = nn.Module()
    model.backbone = backbone
    model.head = nn.Linear(2, 2)
    constructor = LayerDecayOptimWrapperConstructor(
        {"optimizer": dict(type="AdamW", lr=1.0, weight_decay=0.05)}, dict(layer_decay=layer_decay)
    )
    return constructor(model).optimizer.param_groups


def facts_of(groups):
    return {
        name.removeprefix("backbone."): [group["layer_id"], group["lr_scale"], group["weight_decay"]]
        for group in groups
        for name in group["param_names"]
    }


def assert_equal(ours, official):
    assert set(ours) == set(official)
    for name, (layer, scale, weight_decay) in official.items():
        assert ours[name] == [layer, pytest.approx(scale, rel=1e-12), weight_decay], name


def test_swin():
    arch = dict(embed_dim=8, depths=(2, 2, 18, 2), num_heads=(1, 1, 2, 2))
    groups = groups_of(SwinTransformer(arch, out_type="mean"), SWIN["layer_decay"])
    assert len(groups) == SWIN["number_of_groups"]

    def our_name(official):
        # timm merges patches at the start of a stage, the official code at the end of the one before.
        return re.sub(r"layers\.(\d)\.downsample", lambda match: f"layers.{int(match[1]) + 1}.downsample", official)

    assert_equal(facts_of(groups), {our_name(name): row for name, row in SWIN["table"].items()})


def test_vit():
    backbone = VisionTransformer(
        dict(embed_dim=8, depth=12, num_heads=2),
        img_size=32,
        out_type="mean",
        pos_embed="none",
        rel_pos="bias",
        init_values=0.1,
    )
    groups = groups_of(backbone, VIT["layer_decay"])
    assert len(groups) == VIT["number_of_groups"]

    def our_name(official):
        # Layer scale is a module here, and the biases of q and v lie in one parameter.
        return re.sub(r"[qv]_bias", "qkv.bias", re.sub(r"gamma_(\d)", r"ls\1.gamma", official))

    assert_equal(facts_of(groups), {our_name(name): row for name, row in VIT["table"].items()})
