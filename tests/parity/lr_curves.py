"""Learning rates of every classification recipe over a whole, shortened schedule: as produced here, and as released.

``curves()`` yields what a plot needs. `produced` steps the scheduler that the config builds, in the order of mmengine's runner;
`official` follows the release's training loop: MAE's and BEiT's formulas written anew, SimMIM's with timm's own scheduler.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from timm.scheduler import CosineLRScheduler

from mimeval.engine.config import load_config
from mimeval.engine.environment import setup_environment
from mimeval.engine.lr import resolve_lr
from mimeval.registry import MODELS, PARAM_SCHEDULERS

GPUS = 8
VIT, SWIN = "vit", "swin"
SWIN_DEPTHS = (2, 2, 18, 2)


class Release(NamedTuple):
    """What a release's command line and code say; rates are absolute, for its batch."""

    rule: Callable[..., np.ndarray]
    lr: float
    min_lr: float
    warmup: int
    epochs: int
    accumulated: int
    layer_decay: float = 1.0
    weight_decay: float = 0.05
    model: str = VIT
    depth: int = 12
    decays_bias_tables: bool = True


def mae(release: Release, scale: float, per_epoch: int) -> np.ndarray:
    """MAE and LocalMIM, util/lr_sched.py: set at the first iteration of every update, at the fractional epoch."""
    rates = []
    for step in range(release.epochs * per_epoch):
        if step % release.accumulated == 0:
            epoch = step % per_epoch / per_epoch + step // per_epoch
            if epoch < release.warmup:
                rate = release.lr * epoch / release.warmup
            else:
                turn = math.pi * (epoch - release.warmup) / (release.epochs - release.warmup)
                rate = release.min_lr + (release.lr - release.min_lr) * 0.5 * (1 + math.cos(turn))
        rates.append(rate * scale)
    return np.array(rates)


def beit(release: Release, scale: float, per_epoch: int) -> np.ndarray:
    """BEiT, utils.py cosine_scheduler: a table with an entry for each update, times the group's scale."""
    updates = per_epoch // release.accumulated
    warmup = release.warmup * updates
    falling = np.arange(release.epochs * updates - warmup)
    table = np.concatenate(
        [
            np.linspace(0, release.lr, warmup),
            release.min_lr + 0.5 * (release.lr - release.min_lr) * (1 + np.cos(np.pi * falling / len(falling))),
        ]
    )
    return np.repeat(table * scale, release.accumulated)


def simmim(release: Release, scale: float, per_epoch: int) -> np.ndarray:
    """SimMIM, lr_scheduler.py and main_finetune.py: timm's scheduler, stepped after each update with its iteration."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=release.lr * scale)
    schedule = CosineLRScheduler(
        optimizer,
        t_initial=release.epochs * per_epoch,
        lr_min=release.min_lr,
        warmup_lr_init=release.min_lr,  # WARMUP_LR equals MIN_LR in every fine-tuning config
        warmup_t=release.warmup * per_epoch,
        cycle_limit=1,
        t_in_epochs=False,
    )
    rates = []
    for step in range(release.epochs * per_epoch):
        rates.append(optimizer.param_groups[0]["lr"])
        if (step + 1) % release.accumulated == 0:
            schedule.step_update(step)
    return np.array(rates)


RELEASES = {
    "finetune_vits": Release(mae, 2e-3, 1e-6, 5, 100, 4, 0.65),
    "finetune_vitb": Release(mae, 2e-3, 1e-6, 5, 100, 4, 0.65),
    "finetune_vitl": Release(mae, 4e-3, 1e-6, 5, 50, 4, 0.75, depth=24),
    "finetune_vith": Release(mae, 4e-3, 1e-6, 5, 50, 8, 0.75, depth=32),
    "finetune_localmim_vitb": Release(mae, 2e-3, 1e-5, 20, 100, 1, 0.65),
    "finetune_localmim_vitb_100ep": Release(mae, 4e-3, 1e-6, 20, 100, 1, 0.75),
    "finetune_localmim_vitl": Release(mae, 3e-3, 1e-6, 5, 50, 2, 0.75, depth=24),
    "finetune_localmim_swinb": Release(mae, 4e-3, 2.5e-7, 20, 100, 1, 0.9, model=SWIN),
    "finetune_localmim_swinb_hog": Release(mae, 4e-3, 2.5e-7, 20, 100, 2, 0.9, model=SWIN),
    "finetune_localmim_swinb_100ep": Release(mae, 5e-3, 2.5e-7, 20, 100, 1, 0.9, model=SWIN),
    "finetune_localmim_swinl": Release(mae, 2e-3, 2.5e-7, 20, 100, 8, 0.8, model=SWIN),
    "finetune_simmim_vitb": Release(simmim, 5e-3, 1e-6, 20, 100, 2, 0.65),
    "finetune_simmim_swinb": Release(simmim, 5e-3, 1e-6, 20, 100, 2, 0.8, model=SWIN, decays_bias_tables=False),
    "finetune_simmim_swinb_100ep": Release(simmim, 5e-3, 1e-6, 20, 100, 2, 0.9, model=SWIN, decays_bias_tables=False),
    "finetune_simmim_swinb_100ep_192": Release(
        simmim, 5e-3, 1e-6, 20, 100, 2, 0.9, model=SWIN, decays_bias_tables=False
    ),
    "finetune_simmim_swinl": Release(simmim, 5e-3, 1e-6, 20, 100, 4, 0.7, model=SWIN, decays_bias_tables=False),
    "finetune_beit_vitb": Release(beit, 4e-3, 1e-6, 20, 100, 1, 0.65),
    "linear_vits": Release(mae, 6.4, 0.0, 10, 90, 4, weight_decay=0.0),  # MAE's for ViT-B: no release has one of ViT-S
    "linear_vitb": Release(mae, 6.4, 0.0, 10, 90, 4, weight_decay=0.0),
    "linear_swinb": Release(mae, 6.4, 0.0, 10, 90, 4, weight_decay=0.0),  # MAE's probe: no release has one of a Swin
    "linear_vitl": Release(mae, 6.4, 0.0, 10, 50, 4, weight_decay=0.0, depth=24),
    "linear_vith": Release(mae, 6.4, 0.0, 10, 50, 4, weight_decay=0.0, depth=32),
}


def official_layer(release: Release, name: str) -> tuple[int, int]:
    """(layer of a parameter, last layer) by get_layer_id_for_vit (MAE), get_vit_layer and get_swin_layer (SimMIM)."""
    depths = SWIN_DEPTHS if release.model == SWIN else (release.depth,)
    last = sum(depths) + 1
    parts = name.removeprefix("backbone.").split(".")
    if parts[0] in ("cls_token", "pos_embed", "patch_embed"):
        return 0, last
    if parts[0] == "blocks":
        return int(parts[1]) + 1, last
    if parts[0] == "layers" and parts[2] == "downsample":
        # timm merges patches at the start of a stage; the releases do at the end of the one before, and count it there.
        return sum(depths[: int(parts[1])]), last
    if parts[0] == "layers":
        return sum(depths[: int(parts[1])]) + int(parts[3]) + 1, last
    return last, last


def official_decay(release: Release, name: str, ndim: int) -> float:
    """Weight decay: none for one dimension, the class token and positions, nor for Swin's bias tables in SimMIM."""
    exempt = name in ("backbone.pos_embed", "backbone.cls_token")
    table = name.endswith("relative_position_bias_table") and not release.decays_bias_tables
    return 0.0 if ndim == 1 or exempt or table else release.weight_decay


def official(name: str, parameters: dict[str, int], per_epoch: int) -> dict[str, tuple[np.ndarray, float]]:
    """Rates at every iteration, and weight decay, of parameters (name -> dimensions)."""
    release = RELEASES[name]
    rule = cache(partial(release.rule, release, per_epoch=per_epoch))
    found = {}
    for parameter, ndim in parameters.items():
        layer, last = official_layer(release, parameter)
        rates = rule(scale=release.layer_decay ** (last - layer))
        found[parameter] = rates, official_decay(release, parameter, ndim)
    return found


def produced(name: str, per_epoch: int) -> tuple[dict[str, int], dict[str, tuple[np.ndarray, float]]]:
    """The trained parameters (name -> dimensions), and their rates and weight decay as a run of the config has them."""
    setup_environment()
    config = load_config(f"transfer/{name}")
    resolve_lr(config, GPUS)
    with DefaultScope.overwrite_default_scope("mimeval"):
        with torch.device("meta"):
            model = MODELS.build(config.model)
        wrapper = build_optim_wrapper(model, config.optim_wrapper)
        settings = dict(config.param_scheduler[0], end=config.train_cfg.max_epochs)
        schedule = PARAM_SCHEDULERS.build(settings, default_args=dict(optimizer=wrapper, epoch_length=per_epoch))
    rates = []
    for _ in range(config.train_cfg.max_epochs * per_epoch):
        rates.append([group["lr"] for group in wrapper.optimizer.param_groups])
        schedule.step()
    columns = np.array(rates).T
    found = {
        parameter: (column, group["weight_decay"])
        for column, group in zip(columns, wrapper.optimizer.param_groups, strict=True)
        for parameter in group["param_names"]
    }
    return {key: parameter.ndim for key, parameter in model.named_parameters() if parameter.requires_grad}, found


def curves(
    names: Iterable[str] = tuple(RELEASES), per_epoch: int = 16
) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """(recipe and layer, epochs, rates as produced, rates of the release) for the lowest, a middle and the last layer."""
    for name in names:
        parameters, ours = produced(name, per_epoch)
        theirs = official(name, parameters, per_epoch)
        layers: dict[int, str] = {}
        for parameter in parameters:
            layers.setdefault(official_layer(RELEASES[name], parameter)[0], parameter)
        for layer in sorted({min(layers), sorted(layers)[len(layers) // 2], max(layers)}):
            rates = ours[layers[layer]][0]
            yield f"{name}, layer {layer}", np.arange(len(rates)) / per_epoch, rates, theirs[layers[layer]][0]
