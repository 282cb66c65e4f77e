"""Parameter groups of every optimizer: weight decay by rule, and a learning rate that falls with depth (BEiT, MAE)."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import nn
from torch.optim import Optimizer

from mimeval.errors import UserError
from mimeval.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS

# What DistributedDataParallel, torch.compile, FSDP and activation checkpointing put into parameter names.
WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor:
    """Optimizer of a classifier, detector, segmentor or pre-training model, one group per (layer, decayed or not).

    The backbone says which layer a parameter belongs to (``backbone.layer_id``, ``backbone.num_layers``); all that is
    outside of it (neck, head) belongs to the last. A group has lr * lr_scale, lr_scale = layer_decay ** (last - id).
    ``paramwise_cfg`` may have:
      layer_decay: factor from layer to layer, 1 for none. In that case all layers are one.
      decay_1d: whether biases, norms and other parameters of one dimension are decayed. MAE does not.
      decay_tokens: whether what ``backbone.no_weight_decay()`` names is decayed, as MAE's pre-training does.
      no_decay_names: further parameters without weight decay, by name, the last parts of it ('mask_token') or a shell
        pattern over whole names ('backbone.*norm*').
    Raises UserError for other keys, a parameter that the backbone does not know, and a name that matches nothing.
    """

    OPTIONS = {"layer_decay": 1.0, "decay_1d": False, "decay_tokens": False, "no_decay_names": ()}

    def __init__(self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None) -> None:
        options = {**self.OPTIONS, **(paramwise_cfg or {})}
        if unknown := sorted(set(options) - set(self.OPTIONS)):
            raise UserError(
                f"optim_wrapper.paramwise_cfg: expected keys among {', '.join(self.OPTIONS)}, found "
                f"{', '.join(unknown)}; remove or rename them"
            )
        if not 0 < options["layer_decay"] <= 1:
            raise UserError(
                "optim_wrapper.paramwise_cfg.layer_decay: expected a factor above 0 and up to 1, found "
                f"{options['layer_decay']}; 1 means no layer decay"
            )
        self.layer_decay: float = options["layer_decay"]
        self.decay_1d: bool = options["decay_1d"]
        self.decay_tokens: bool = options["decay_tokens"]
        self.no_decay_names = tuple(options["no_decay_names"])
        self.optim_wrapper_cfg = {"type": "OptimWrapper", **optim_wrapper_cfg}
        self.optimizer_cfg = self.optim_wrapper_cfg.pop("optimizer")

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer on the trainable parameters of ``model``, print its table and wrap it."""
        optimizer = OPTIMIZERS.build(dict(self.optimizer_cfg, params=self.groups(model)))
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * group["lr_scale"]
        print_log("\n" + table(optimizer), logger="current")
        return OPTIM_WRAPPERS.build(self.optim_wrapper_cfg, default_args={"optimizer": optimizer})

    def groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Groups by depth: params, param_names, layer_id, lr_scale, and weight_decay=0 in those that have none."""
        backbone = _unwrap(_unwrap(model)._modules.get("backbone"))
        if backbone is None and self.layer_decay != 1:
            raise UserError(
                "optim_wrapper.paramwise_cfg.layer_decay: expected a model with a backbone, found "
                f"{type(_unwrap(model)).__name__} without one; remove layer_decay"
            )
        last = backbone.num_layers - 1 if self.layer_decay != 1 else 0
        no_decay = self._no_decay(model, backbone)
        groups: dict[tuple[int, bool], dict[str, Any]] = {}
        for name, parameter in _named_parameters(model):
            if not parameter.requires_grad:
                continue
            layer = self._layer_id(backbone, name, last)
            is_decayed = name not in no_decay and (parameter.ndim > 1 or self.decay_1d)
            group = groups.setdefault(
                (layer, is_decayed),
                {
                    "params": [],
                    "param_names": [],
                    "layer_id": layer,
                    "lr_scale": self.layer_decay ** (last - layer),
                    **({} if is_decayed else {"weight_decay": 0.0}),
                },
            )
            group["params"].append(parameter)
            group["param_names"].append(name)
        if not groups:
            raise UserError(
                f"model: expected parameters to train, found that all of {type(_unwrap(model)).__name__} is frozen; "
                "unfreeze the backbone or add a head"
            )
        return [groups[key] for key in sorted(groups)]

    def _layer_id(self, backbone: Any, name: str, last: int) -> int:
        prefix, _, rest = name.partition(".")
        if last == 0 or prefix != "backbone":
            return last
        try:
            layer: int = backbone.layer_id(rest)
        except KeyError as error:
            raise UserError(
                f"model: expected {type(backbone).__name__}.layer_id to know every backbone parameter, found '{name}', "
                "which it does not; add it there or set layer_decay=1.0"
            ) from error
        return layer

    def _no_decay(self, model: nn.Module, backbone: Any) -> set[str]:
        names = {name for name, _ in _named_parameters(model)}
        exempt: set[str] = set()
        if not self.decay_tokens and hasattr(backbone, "no_weight_decay"):
            exempt = {f"backbone.{_strip(name)}" for name in backbone.no_weight_decay()}
        for suffix in self.no_decay_names:
            matches = {name for name in names if fnmatchcase(f".{name}", f"*.{suffix}")}
            if not matches:
                raise UserError(
                    f"optim_wrapper.paramwise_cfg.no_decay_names: expected parameters, found '{suffix}', with which no "
                    f"name in {type(_unwrap(model)).__name__} ends; correct or remove it"
                )
            exempt |= matches
        return exempt


def table(optimizer: Optimizer) -> str:
    """The groups of an optimizer, a line each: layer, lr scale, lr, weight decay, how many tensors and parameters."""
    lines = [f"{'layer':>5} {'lr scale':>10} {'lr':>10} {'weight decay':>12} {'tensors':>8} {'parameters':>12}"]
    for group in optimizer.param_groups:
        count = sum(parameter.numel() for parameter in group["params"])
        lines.append(
            f"{group['layer_id']:>5} {group['lr_scale']:>10.4g} {group['lr']:>10.4g} {group['weight_decay']:>12g} "
            f"{len(group['params']):>8} {count:>12,}"
        )
    return "\n".join(lines)


def _named_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    for name, parameter in model.named_parameters():
        yield _strip(name), parameter


def _strip(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _unwrap(module: Any) -> Any:
    while module is not None:
        inner = next((module._modules[name] for name in WRAPPERS if name in module._modules), None)
        if inner is None:
            break
        module = inner
    return module
