"""Rate and weight decay of every parameter of the dense recipes, against the official rules written down here.

Sources: detectron2 solver/build.py (get_default_optimizer_params) with backbone/vit.py (get_vit_lr_decay_rate); MIMDet
configs/benchmarking; mmcv 1's DefaultOptimizerConstructor with Swin's custom_keys; BEiT's layer_decay_optimizer_constructor.py.
"""

import re
from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.parity.dense import model, optimizer

Rule = Callable[[str, nn.Parameter, nn.Module], tuple[float, float]]
TORCH_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


def in_detectron2(name: str) -> str:
    """The ViT is `backbone.net` there and the pyramid part of the backbone."""
    name = re.sub(r"^neck\.", "backbone.simfp_", name)
    return re.sub(r"^backbone\.(?!simfp_)", "backbone.net.", name)


def vitdet(decay: float, depth: int, norms: float | None, overrides: dict[str, float]) -> Rule:
    def rule(name: str, parameter: nn.Parameter, module: nn.Module) -> tuple[float, float]:
        official = in_detectron2(name)
        layer = depth + 1
        if official.startswith("backbone"):
            if ".pos_embed" in official or ".patch_embed" in official:
                layer = 0
            elif ".blocks." in official and ".residual." not in official:
                layer = int(official[official.find(".blocks.") :].split(".")[2]) + 1
        weight_decay = 0.1
        # The channel norms of pyramid and heads are detectron2's own class there, none of torch's; here they are subclasses.
        if norms is not None and isinstance(module, TORCH_NORMS) and ".net." in official:
            weight_decay = norms
        return decay ** (depth + 1 - layer), overrides.get(official.split(".")[-1], weight_decay)

    return rule


def li2021(name: str, parameter: nn.Parameter, module: nn.Module) -> tuple[float, float]:
    leaf = {"window_table": "relative_position_bias_table", "global_table": "relative_position_bias_table"}
    overrides = {"pos_embed": 0.0, "relative_position_bias_table": 0.0}
    weight_decay = 0.0 if isinstance(module, TORCH_NORMS) else 0.1
    last = name.split(".")[-1]
    return 1.0, overrides.get(leaf.get(last, last), weight_decay)


def swin(weight_decay: float) -> Rule:
    custom_keys = ("absolute_pos_embed", "relative_position_bias_table", "norm")

    def rule(name: str, parameter: nn.Parameter, module: nn.Module) -> tuple[float, float]:
        return 1.0, 0.0 if any(key in name for key in custom_keys) else weight_decay

    return rule


def beit(decay: float, depth: int) -> Rule:
    def rule(name: str, parameter: nn.Parameter, module: nn.Module) -> tuple[float, float]:
        layers = depth + 2
        if name in ("backbone.cls_token", "backbone.mask_token", "backbone.pos_embed"):
            layer = 0
        elif name.startswith("backbone.patch_embed"):
            layer = 0
        elif name.startswith("backbone.blocks"):
            layer = int(name.split(".")[2]) + 1
        else:
            layer = layers - 1
        # Names are those of the whole model, so that the last condition never holds.
        bare = parameter.ndim == 1 or name.endswith(".bias") or name in ("pos_embed", "cls_token")
        return decay ** (layers - layer - 1), 0.0 if bare else 0.05

    return rule


RULES: dict[str, Rule] = {
    "maskrcnn_vitdet_vits": vitdet(0.7, 12, norms=0.0, overrides={"pos_embed": 0.0}),
    "maskrcnn_vitdet_vitb": vitdet(0.7, 12, norms=0.0, overrides={"pos_embed": 0.0}),
    "maskrcnn_vitdet_vitl": vitdet(0.8, 24, norms=0.0, overrides={"pos_embed": 0.0}),
    "maskrcnn_vitdet_vith": vitdet(0.9, 32, norms=None, overrides={}),
    "maskrcnn_li2021_vitb": li2021,
    "maskrcnn_swinb": swin(0.05),
    "upernet_vits": beit(0.65, 12),
    "upernet_vitb": beit(0.65, 12),
    "upernet_localmim_vitb": beit(0.65, 12),
    "upernet_beit_vitb": beit(0.65, 12),
    "upernet_swinb": swin(0.01),
    "upernet_swinl": swin(0.01),
}


@pytest.mark.parametrize("name", RULES)
def test_every_parameter(name):
    built = model(name)
    groups = optimizer(name).optimizer.param_groups
    top = max(group["lr"] for group in groups)
    found = {
        parameter_name: (group["lr"] / top, group["weight_decay"])
        for group in groups
        for parameter_name in group["param_names"]
    }
    assert set(found) == {n for n, parameter in built.named_parameters() if parameter.requires_grad}
    for parameter_name, parameter in built.named_parameters():
        module = built.get_submodule(parameter_name.rpartition(".")[0])
        scale, weight_decay = RULES[name](parameter_name, parameter, module)
        ours = found[parameter_name]
        assert ours == (pytest.approx(scale, rel=1e-12), weight_decay), parameter_name


def test_what_is_spared_is_no_empty_set():
    """A rule that finds nothing would agree with one that finds nothing."""
    expected = {"maskrcnn_vitdet_vitb": 49, "maskrcnn_vitdet_vith": 0, "upernet_vitb": 0.05, "maskrcnn_li2021_vitb": 85}
    for name, count in expected.items():
        groups = optimizer(name).optimizer.param_groups
        spared = [n for group in groups if group["weight_decay"] == 0 for n in group["param_names"]]
        if name == "upernet_vitb":
            decayed = {n for group in groups if group["weight_decay"] == count for n in group["param_names"]}
            assert {"backbone.pos_embed", "backbone.cls_token"} <= decayed and len(spared) > 100
        else:
            assert len(spared) == count, name


def test_frozen_and_buffers_are_in_no_group():
    groups = optimizer("maskrcnn_swinb").optimizer.param_groups
    names = [n for group in groups for n in group["param_names"]]
    assert len(names) == len(set(names)) and not any("index" in n for n in names)
    assert all(parameter.device == torch.device("meta") for group in groups for parameter in group["params"])
