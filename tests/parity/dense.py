"""The dense recipes as the runner builds them: model on the meta device, parameter groups, schedulers."""

from functools import cache

import torch
from mmengine.config import Config, ConfigDict
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from torch import nn

from mimeval.engine.config import load_config
from mimeval.engine.environment import setup_environment
from mimeval.engine.layer_decay import LayerDecayOptimWrapperConstructor
from mimeval.engine.lr import resolve_lr
from mimeval.engine.runner import RUN_KEYS
from mimeval.registry import MODELS, PARAM_SCHEDULERS

GPUS = 8


@cache
def recipe(name: str) -> Config:
    """A recipe with the rate that it has on 8 GPUs."""
    setup_environment()
    config = load_config(f"transfer/{name}", known_keys=RUN_KEYS | {"protocol"})
    resolve_lr(config, GPUS)
    return config


@cache
def model(name: str) -> nn.Module:
    with DefaultScope.overwrite_default_scope("mimeval"), torch.device("meta"):
        return MODELS.build(recipe(name).model)


def optimizer(name: str) -> OptimWrapper:
    """The optimiser of a recipe over its model's parameters, which hold no values."""
    wrapper = ConfigDict(recipe(name).optim_wrapper.to_dict(), type="OptimWrapper")
    wrapper.pop("precision")
    paramwise = wrapper.pop("paramwise_cfg")
    wrapper.pop("constructor")
    return LayerDecayOptimWrapperConstructor(wrapper, paramwise)(model(name))


def schedulers(name: str, wrapper: OptimWrapper, shorter: int = 1) -> list:
    """The schedulers as mmengine's runner builds them; with `shorter`, every length in iterations is divided by it."""
    built = []
    for settings in recipe(name).param_scheduler:
        settings = dict(settings, end=settings.get("end", recipe(name).train_cfg.max_iters) / shorter)
        settings["warmup"] /= shorter
        if "milestones" in settings:
            settings["milestones"] = [milestone / shorter for milestone in settings["milestones"]]
        built.append(PARAM_SCHEDULERS.build(dict(settings, optimizer=wrapper)))
    return built
