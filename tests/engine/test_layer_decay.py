"""Layer ids and groups of classifier, detector, segmentor and pre-training model, plain and inside wrappers."""

import logging

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mimeval.engine import mmcv_ops
from mimeval.engine.layer_decay import LayerDecayOptimWrapperConstructor
from mimeval.errors import UserError
from mimeval.registry import MODELS

mmcv_ops.install()

DECAY = 0.5
# Every parameter's layer by the beginning of its name, written down by hand.
OUTSIDE = ("head.", "neck.", "rpn_head.", "roi_head.", "decode_head.")
VIT_IDS = {
    "backbone.cls_token": 0,
    "backbone.pos_embed": 0,
    "backbone.patch_embed.proj.": 0,
    "backbone.blocks.0.": 1,
    "backbone.blocks.1.": 2,
    "backbone.blocks.2.": 3,
    "backbone.fc_norm.": 4,
    "backbone.tap_norms.": 4,
    **dict.fromkeys(OUTSIDE, 4),
}
# Stages of 1, 2, 1 and 1 blocks; patch merging belongs to the last block before it.
SWIN_IDS = {
    "backbone.patch_embed.": 0,
    "backbone.layers.0.blocks.0.": 1,
    "backbone.layers.1.downsample.": 1,
    "backbone.layers.1.blocks.0.": 2,
    "backbone.layers.1.blocks.1.": 3,
    "backbone.layers.2.downsample.": 3,
    "backbone.layers.2.blocks.0.": 4,
    "backbone.layers.3.downsample.": 4,
    "backbone.layers.3.blocks.0.": 5,
    "backbone.norm.": 6,
    "backbone.tap_norms.": 6,
    **dict.fromkeys(OUTSIDE, 6),
}
BACKBONES = {
    "vit": dict(
        type="mimeval.VisionTransformer",
        arch=dict(embed_dim=8, depth=3, num_heads=2),
        img_size=32,
        patch_size=8,
        pos_trainable=True,
    ),
    "swin": dict(
        type="mimeval.SwinTransformer",
        arch=dict(embed_dim=8, depths=(1, 2, 1, 1), num_heads=(1, 2, 2, 2)),
        img_size=64,
        window_size=4,
    ),
}
IDS = {"vit": VIT_IDS, "swin": SWIN_IDS}


def classifier(kind):
    width = {"vit": 8, "swin": 64}[kind]
    return dict(
        type="mmpretrain.ImageClassifier",
        backbone=dict(BACKBONES[kind], out_type="mean"),
        head=dict(type="mmpretrain.LinearClsHead", num_classes=3, in_channels=width),
    )


def detector(kind):
    taps = dict(taps=[-1]) if kind == "vit" else dict(taps=[2, 3], tap_norm=True)
    neck = dict(type="mimeval.SimpleFeaturePyramid", in_channels=8, out_channels=8)
    if kind == "swin":
        neck = dict(type="mmdet.FPN", in_channels=[32, 64], out_channels=8, num_outs=5)
    roi = dict(type="mmdet.SingleRoIExtractor", out_channels=8, featmap_strides=[4, 8, 16, 32])
    return dict(
        type="mmdet.MaskRCNN",
        backbone=dict(BACKBONES[kind], out_type="maps", **taps),
        neck=neck,
        rpn_head=dict(
            type="mmdet.RPNHead",
            in_channels=8,
            feat_channels=8,
            anchor_generator=dict(type="mmdet.AnchorGenerator", scales=[8], ratios=[1.0], strides=[4, 8, 16, 32, 64]),
        ),
        roi_head=dict(
            type="mmdet.StandardRoIHead",
            bbox_roi_extractor=dict(roi, roi_layer=dict(type="RoIAlign", output_size=2, sampling_ratio=0)),
            bbox_head=dict(
                type="mmdet.Shared2FCBBoxHead", in_channels=8, fc_out_channels=8, roi_feat_size=2, num_classes=3
            ),
            mask_roi_extractor=dict(roi, roi_layer=dict(type="RoIAlign", output_size=4, sampling_ratio=0)),
            mask_head=dict(type="mmdet.FCNMaskHead", num_convs=1, in_channels=8, conv_out_channels=8, num_classes=3),
        ),
        train_cfg=None,
        test_cfg=dict(rpn={}, rcnn={}),
    )


def segmentor(kind):
    taps = dict(taps=[0, 2], tap_norm=True) if kind == "vit" else dict(taps=[0, 3])
    channels = {"vit": [8, 8], "swin": [8, 64]}[kind]
    return dict(
        type="mmseg.EncoderDecoder",
        backbone=dict(BACKBONES[kind], out_type="maps", **taps),
        decode_head=dict(
            type="mmseg.UPerHead",
            in_channels=channels,
            in_index=[0, 1],
            pool_scales=(1, 2),
            channels=8,
            num_classes=3,
            norm_cfg=dict(type="BN"),
        ),
        train_cfg=dict(),
        test_cfg=dict(mode="whole"),
    )


TASKS = {"classifier": classifier, "detector": detector, "segmentor": segmentor}


def build(task, kind):
    scope = {"classifier": "mmpretrain", "detector": "mmdet", "segmentor": "mmseg"}[task]
    init_default_scope(scope)
    try:
        return MODELS.build(ConfigDict(TASKS[task](kind)))
    finally:
        init_default_scope("mimeval")


def optimizer_of(model, layer_decay=DECAY, lr=0.1, weight_decay=0.05, **paramwise):
    constructor = LayerDecayOptimWrapperConstructor(
        {"optimizer": dict(type="AdamW", lr=lr, weight_decay=weight_decay)}, dict(layer_decay=layer_decay, **paramwise)
    )
    return constructor(model).optimizer


def by_name(optimizer, key):
    return {name: group[key] for group in optimizer.param_groups for name in group["param_names"]}


def expected_ids(model, table):
    """The id of every trainable parameter; fails where the table has none or two."""
    ids = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (ids[name],) = [layer for prefix, layer in table.items() if name.startswith(prefix)]
    return ids


@pytest.fixture(scope="module")
def one_process_group(tmp_path_factory):
    store = tmp_path_factory.mktemp("gloo") / "store"
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


class Shard(nn.Module):
    """Names parameters as FSDP does, which itself needs more than a CPU."""

    def __init__(self, module):
        super().__init__()
        self._fsdp_wrapped_module = module


def shard_inside(model):
    blocks = model.backbone.blocks if hasattr(model.backbone, "blocks") else model.backbone.layers
    blocks[1] = Shard(blocks[1])
    model.backbone = Shard(model.backbone)
    return Shard(model)


def compile_inside(model):
    model.backbone = torch.compile(model.backbone)
    return model


WRAPPERS = {
    "plain": lambda model: model,
    "ddp": DistributedDataParallel,
    "compile": torch.compile,
    "ddp_of_compile": lambda model: DistributedDataParallel(torch.compile(model)),
    "compiled_backbone": compile_inside,
    "fsdp_names": shard_inside,
}


@pytest.mark.parametrize("wrap", WRAPPERS)
@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("task", TASKS)
def test_ids_scales_and_groups(task, kind, wrap, one_process_group):
    model = build(task, kind)
    table = IDS[kind]
    expected, shapes = expected_ids(model, table), {name: p.ndim for name, p in model.named_parameters()}
    optimizer = optimizer_of(WRAPPERS[wrap](model))

    assert by_name(optimizer, "layer_id") == expected
    assert {table[prefix] for prefix in table if any(name.startswith(prefix) for name in expected)} == {
        group["layer_id"] for group in optimizer.param_groups
    }
    last = max(table.values())
    assert by_name(optimizer, "lr_scale") == {name: DECAY ** (last - layer) for name, layer in expected.items()}
    assert by_name(optimizer, "lr") == {name: 0.1 * DECAY ** (last - layer) for name, layer in expected.items()}
    exempt = ("backbone.cls_token", "backbone.pos_embed")
    for name, weight_decay in by_name(optimizer, "weight_decay").items():
        is_exempt = shapes[name] <= 1 or name in exempt or name.endswith("relative_position_bias_table")
        assert weight_decay == (0.0 if is_exempt else 0.05), name

    assert len(optimizer.param_groups) <= 2 * (last + 1)
    for group in optimizer.param_groups:
        assert len(group["params"]) == len(group["param_names"])
    tensors = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(tensors) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_without_layer_decay_there_are_two_groups():
    model = build("classifier", "vit")
    groups = optimizer_of(model, layer_decay=1.0).param_groups
    assert sorted(group["weight_decay"] for group in groups) == [0.0, 0.05]
    assert {group["lr"] for group in groups} == {0.1}


def test_weight_decay_switches():
    model = build("classifier", "vit")
    decays = by_name(optimizer_of(model, decay_1d=True), "weight_decay")
    assert {name for name, decay in decays.items() if not decay} == {"backbone.cls_token", "backbone.pos_embed"}
    decays = by_name(optimizer_of(model, decay_tokens=True), "weight_decay")
    assert decays["backbone.cls_token"] == decays["backbone.pos_embed"] == 0.05
    decays = by_name(optimizer_of(model, no_decay_names=["fc.weight"]), "weight_decay")
    assert decays["head.fc.weight"] == 0 and decays["backbone.blocks.0.mlp.fc1.weight"] == 0.05
    decays = by_name(
        optimizer_of(model, decay_1d=True, decay_tokens=True, no_decay_names=["backbone.*norm*"]), "weight_decay"
    )
    assert {name for name, decay in decays.items() if not decay} == {
        f"backbone.{norm}.{kind}"
        for norm in ("fc_norm", *(f"blocks.{i}.norm{k}" for i in range(3) for k in (1, 2)))
        for kind in ("weight", "bias")
    }


def test_frozen_parameters_are_in_no_group():
    model = build("classifier", "vit")
    model.backbone.requires_grad_(False)
    assert set(by_name(optimizer_of(model), "lr")) == {"head.fc.weight", "head.fc.bias"}
    model.head.requires_grad_(False)
    with pytest.raises(UserError, match="all of ImageClassifier is frozen"):
        optimizer_of(model)


def test_a_parameter_that_no_rule_knows_is_an_error():
    model = build("classifier", "vit")
    model.backbone.adapter = nn.Linear(2, 2)
    with pytest.raises(UserError, match="'backbone.adapter.weight'"):
        optimizer_of(model)


@pytest.mark.parametrize(
    "paramwise, message",
    [
        (dict(custom_keys={}), "found custom_keys"),
        (dict(layer_decay=1.5), "found 1.5"),
        (dict(layer_decay=0), "found 0"),
        (dict(no_decay_names=["mask_tokn"]), "'mask_tokn'"),
        # The end of a word is not the end of a name.
        (dict(no_decay_names=["oken"]), "'oken'"),
        (dict(no_decay_names=["head.*norm*"]), "'head\\.\\*norm\\*'"),
    ],
)
def test_settings_that_cannot_be_meant(paramwise, message):
    with pytest.raises(UserError, match=message):
        optimizer_of(build("classifier", "vit"), **{"layer_decay": DECAY, **paramwise})


def test_layer_decay_needs_a_backbone():
    with pytest.raises(UserError, match="Linear without one"):
        optimizer_of(nn.Linear(2, 2))
    assert len(optimizer_of(nn.Linear(2, 2), layer_decay=1.0).param_groups) == 2


def test_table_is_logged_once(caplog):
    model = build("classifier", "vit")
    logger = MMLogger.get_instance("layer_decay_table")
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO):
        optimizer_of(model)
    logger.removeHandler(caplog.handler)
    (record,) = [record for record in caplog.records if "lr scale" in record.getMessage()]
    assert record.levelno == logging.INFO
    rows = [line.split() for line in record.getMessage().splitlines()[2:]]
    assert rows[0] == ["0", "0.0625", "0.00625", "0", "3", str(8 + 17 * 8 + 8)]
    assert rows[1] == ["0", "0.0625", "0.00625", "0.05", "1", f"{8 * 3 * 8 * 8:,}"]
    assert sum(int(row[-1].replace(",", "")) for row in rows) == sum(p.numel() for p in model.parameters())


def test_the_runner_builds_it_from_a_config():
    from mmengine.optim import build_optim_wrapper

    init_default_scope("mimeval")
    wrapper = build_optim_wrapper(
        build("classifier", "vit"),
        dict(
            type="AutocastOptimWrapper",
            precision="bf16",
            constructor="LayerDecayOptimWrapperConstructor",
            paramwise_cfg=dict(layer_decay=0.75),
            optimizer=dict(type="LARS", lr=0.1, weight_decay=0.0),
        ),
    )
    assert type(wrapper).__name__ == "AutocastOptimWrapper" and wrapper.precision == "bf16"
    assert min(wrapper.get_lr()["lr"]) == pytest.approx(0.1 * 0.75**4)
