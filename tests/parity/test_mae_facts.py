"""Parity with MAE's optimisation utilities (golden/mae_facts.json): layer decay, weight decay, learning rate, LARS."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from mimeval.backbones import VisionTransformer
from mimeval.engine.lars import LARS
from mimeval.engine.layer_decay import LayerDecayOptimWrapperConstructor
from mimeval.engine.schedule import WarmupCosine, warmup_cosine
from mimeval.pretrain import MAEDecoder
from tests.parity.record import EACH, LARGEST, close

FACTS = json.loads((Path(__file__).parent / "golden" / "mae_facts.json").read_text())
FINETUNE, PRETRAIN = FACTS["layer_decay"]["cases"], FACTS["pretrain_weight_decay"]
SCHEDULES, STEPS = FACTS["lr_schedule"]["cases"], FACTS["lars"]


def by_name(optimizer, key):
    return {name: group[key] for group in optimizer.param_groups for name in group["param_names"]}


def adamw(weight_decay):
    return {"optimizer": dict(type="AdamW", lr=1e-3, weight_decay=weight_decay)}


@pytest.mark.parametrize("case", FINETUNE, ids=lambda case: case["model"])
def test_finetuning_layer_decay(case):
    model = nn.Module()
    arch = dict(embed_dim=8, depth=case["depth"], num_heads=2)
    model.backbone = VisionTransformer(arch=arch, img_size=32, out_type="mean", pos_trainable=True)
    model.head = nn.Linear(8, 3)
    constructor = LayerDecayOptimWrapperConstructor(adamw(case["weight_decay"]), dict(layer_decay=case["layer_decay"]))
    optimizer = constructor(model).optimizer
    assert len(optimizer.param_groups) == case["n_groups"]

    expected = {
        name if name.startswith("head.") else f"backbone.{name}": facts for name, facts in case["params"].items()
    }
    scales, decays, rates = (by_name(optimizer, key) for key in ("lr_scale", "weight_decay", "lr"))
    assert set(scales) == set(expected)
    for name, facts in expected.items():
        close("MAE fine-tuning", "layer-decay scales", scales[name], facts["lr_scale"], 1e-12, EACH, name)
        assert rates[name] == pytest.approx(1e-3 * facts["lr_scale"], rel=1e-12), name
        assert decays[name] == facts["weight_decay"], name


def test_pretraining_weight_decay():
    model = nn.Module()
    model.backbone = VisionTransformer(arch=dict(embed_dim=8, depth=1, num_heads=2), img_size=32)
    model.decoder = MAEDecoder(encoder_dim=8, grid=(2, 2), out_dim=12, embed_dim=8, depth=1, num_heads=2)
    official = {"decoder.embed": "decoder_embed", "decoder.blocks": "decoder_blocks", "decoder.norm": "decoder_norm"}
    official |= {
        "decoder.pred": "decoder_pred",
        "decoder.pos_embed": "decoder_pos_embed",
        "decoder.": "",
        "backbone.": "",
    }

    def official_name(name):
        ours = next(prefix for prefix in official if name.startswith(prefix))
        return official[ours] + name[len(ours) :]

    constructor = LayerDecayOptimWrapperConstructor(adamw(PRETRAIN["weight_decay"]), dict(decay_tokens=True))
    optimizer = constructor(model).optimizer
    decays = {official_name(name): decay for name, decay in by_name(optimizer, "weight_decay").items()}
    assert decays == PRETRAIN["params"]
    rest = {official_name(name) for name, _ in model.named_parameters()} - set(decays)
    assert rest == set(PRETRAIN["in_no_group"])
    assert len(optimizer.param_groups) == 2


@pytest.mark.parametrize("case", SCHEDULES, ids=lambda case: case["name"])
def test_learning_rate(case):
    warmup, epochs, min_lr = case["warmup_epochs"], case["epochs"], case["min_lr"]
    scales = case["group_lr_scales"]
    per_epoch = 10_000  # the rows have four decimals
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in scales]
    groups = [
        # As the layer-decay constructor makes them: the scale is in the group and in its lr.
        {"params": [parameter], "lr": case["lr"] * (scale or 1), **({} if scale is None else {"lr_scale": scale})}
        for parameter, scale in zip(parameters, scales, strict=True)
    ]
    optimizer = torch.optim.SGD(groups, lr=case["lr"])
    schedule = WarmupCosine(optimizer, warmup, min_lr, epochs, epoch_length=per_epoch)
    for epoch, lr, *group_lrs in case["rows"]:
        close("MAE", "rate", warmup_cosine(epoch, case["lr"], warmup, epochs, min_lr), lr, 1e-12, EACH)
        schedule.load_state_dict(dict(global_step=round(epoch * per_epoch), epoch_length=per_epoch))
        rates = [group["lr"] for group in optimizer.param_groups]
        close("MAE", "rate of each group", rates, group_lrs, 1e-12, EACH, str(epoch))


@pytest.mark.parametrize("case", STEPS["cases"], ids=lambda case: f"weight_decay_{case['weight_decay']}")
def test_lars_steps(case):
    parameters = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in STEPS["init"].items()}
    optimizer = LARS(
        parameters.values(),
        lr=STEPS["lr"],
        weight_decay=case["weight_decay"],
        momentum=STEPS["momentum"],
        trust_coefficient=STEPS["trust_coefficient"],
    )
    for gradients, after in zip(STEPS["gradients"], case["after_step"], strict=True):
        for name, parameter in parameters.items():
            parameter.grad = torch.tensor(gradients[name])
        optimizer.step()
        for name, parameter in parameters.items():
            expected = {key: torch.tensor(value) for key, value in after[name].items()}
            close("MAE linear probe", "LARS: weights", parameter.detach(), expected["param"], 1e-6, LARGEST)
            close("MAE linear probe", "LARS: momentum", optimizer.state[parameter]["mu"], expected["mu"], 1e-6, LARGEST)
