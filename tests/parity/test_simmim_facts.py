"""Parity with golden/simmim_facts.json: groups of fine-tuning and pre-training, rates of pre-training, numbers of masks."""

import json
import re
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope
from torch import nn

from mimeval.backbones import SwinTransformer, VisionTransformer
from mimeval.engine import schedule as schedules
from mimeval.engine.config import load_config
from mimeval.engine.layer_decay import LayerDecayOptimWrapperConstructor
from mimeval.errors import UserError
from mimeval.pretrain.masking import RandomMasking
from mimeval.registry import MODELS
from tests.parity.record import EACH, close

ALL = json.loads((Path(__file__).parent / "golden" / "simmim_facts.json").read_text())
FACTS = ALL["layer_decay"]
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
        assert (ours[name][0], ours[name][2]) == (layer, weight_decay), name
        close("SimMIM fine-tuning", "layer-decay scales", ours[name][1], scale, 1e-12, EACH, name)


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


PRETRAIN = {
    "simmim_swinb": "simmim_pretrain__swin_base__img192_window6__800ep",
    "simmim_swinb_100ep": "simmim_pretrain__swin_base__img192_window6__100ep",
    "simmim_swinl": "simmim_pretrain__swin_large__img192_window12__800ep",
    "simmim_vitb": "simmim_pretrain__vit_base__img224__800ep",
}


@pytest.mark.parametrize("name", PRETRAIN)
def test_rates_of_pre_training(name):
    official, config = ALL["schedules"][PRETRAIN[name]], load_config(f"configs/{name}.py")
    length, top = official["iterations_per_epoch"], official["base_lr"]
    # The config's own rate is for 256 images, the official one for 512.
    assert config.base_lr * 2 == pytest.approx(top, rel=1e-12)
    assert config.train_cfg.max_epochs == official["epochs"]
    assert config.optim_wrapper.clip_grad.max_norm == official["clip_grad"]
    assert config.optim_wrapper.optimizer.weight_decay == official["weight_decay"]
    assert list(config.optim_wrapper.optimizer.betas) == official["betas"]
    assert config.model.backbone.get("drop_path_rate", 0.0) == official["drop_path"]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=top)
    settings = dict(config.param_scheduler[0], optimizer=optimizer, epoch_length=length, end=official["epochs"])
    kind, _ = settings.pop("type"), settings.pop("convert_to_iter_based")
    schedule = getattr(schedules, kind).build_iter_from_epoch(**settings)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(official["lr_before_the_first_step_update"], rel=1e-12)
    for iteration, rate in zip(official["iterations"], official["lr"], strict=True):
        # The scheduler is called with n after update n, so that its rate is that of update n + 1.
        close(
            "SimMIM", "rates of pre-training", schedule.rate(iteration + 1, top, 1.0), rate, 1e-12, EACH, str(iteration)
        )


def test_the_rates_are_those_of_the_steps():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1e-4)
    schedule = schedules.TimmMultiStep(optimizer, warmup=2, start_ratio=5e-3, milestones=[3], end=5, epoch_length=10)
    rates = []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == [schedule.rate(iteration, 1e-4, 1.0) for iteration in range(50)]
    assert rates[0] == rates[1] == pytest.approx(5e-7)
    assert rates[21] == rates[30] == 1e-4 and rates[31] == rates[49] == pytest.approx(1e-5)


def test_a_milestone_within_the_warm_up_is_refused():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1e-4)
    with pytest.raises(UserError, match="milestones must lie after the warm-up of 10"):
        schedules.TimmMultiStep(optimizer, warmup=10, milestones=[5], end=20, epoch_length=10)


@pytest.mark.parametrize("name", ["simmim_swinb_100ep", "simmim_vitb"])
def test_weight_decay_of_pre_training(name):
    official, config = ALL["pretrain_groups"][PRETRAIN[name]], load_config(f"configs/{name}.py")
    changed = dict(zip(official["changed"][::2], official["changed"][1::2], strict=True))
    sizes = {key.split(".")[-1].lower(): value for key, value in changed.items()}
    config.model.backbone.arch = sizes
    with DefaultScope.overwrite_default_scope("mimeval"):
        model = MODELS.build(config.model)
    settings = {"optimizer": dict(config.optim_wrapper.optimizer, lr=1.0)}
    constructor = LayerDecayOptimWrapperConstructor(settings, config.optim_wrapper.paramwise_cfg)
    groups = constructor(model).optimizer.param_groups
    assert {group["lr_scale"] for group in groups} == {1.0}

    def our_name(name):
        if name == "encoder.mask_token":
            return "encoding.mask_token"
        name = re.sub(r"^decoder.0", "decoders.0.pred", re.sub(r"^encoder", "backbone", name))
        name = re.sub(r"[qv]_bias", "qkv.bias", re.sub(r"gamma_(\d)", r"ls\1.gamma", name))
        return re.sub(r"layers\.(\d)\.downsample", lambda match: f"layers.{int(match[1]) + 1}.downsample", name)

    for decayed, key in ((True, "decay"), (False, "no_decay")):
        ours = {n for group in groups if bool(group["weight_decay"]) == decayed for n in group["param_names"]}
        assert ours == {our_name(name) for name in official[key]}


@pytest.mark.parametrize("row", ALL["mask_generator"], ids=lambda row: f"{row['input_size']}-{row['mask_patch_size']}")
def test_number_of_hidden_units(row):
    unit, side = row["mask_patch_size"], row["input_size"]
    masking = RandomMasking(row["mask_ratio"], unit=unit)
    grid = masking.cells((side, side), row["model_patch_size"])
    masks = masking(torch.tensor([[0, 0, index] for index in range(4)]), grid)
    assert (masks.mask.sum(-1) == row["hidden_units"]).all()
    tokens = masks.on((side // row["model_patch_size"],) * 2)
    assert (tokens.mask.sum(-1) == row["hidden_tokens_per_image"][0]).all()
    assert tokens.ids_keep.shape[-1] == tokens.mask.shape[-1] - row["hidden_tokens_per_image"][0]
