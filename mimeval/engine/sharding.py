"""FSDP2: a model whose parameters, gradients and optimiser state are spread over processes, for what no single GPU holds.

`fsdp = dict(reshard_after_forward=True)` in a config. Every block of the backbone is gathered when it runs; the rest (embeddings,
norms, decoder or head) is gathered once per step. Names stay as they are, so layer decay and checkpoints do not know of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.distributed as dist
from mmengine.dist import get_dist_info
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from mimeval.errors import UserError

OPTIONS = {"reshard_after_forward": True}
BLOCKS = (Block, SwinTransformerBlock)


def is_sharded(model: nn.Module | None) -> bool:
    """Whether `shard` was applied."""
    return isinstance(model, FSDPModule)


def shard(model: nn.Module, settings: Mapping[str, Any]) -> nn.Module:
    """Initialise a model's weights and spread it over all processes, in place.

    settings: reshard_after_forward: give a block's parameters back after its forward pass and gather them again for its backward
    pass (less memory), or keep them in between (less traffic).

    Raises:
        UserError: other settings, a model without a backbone made of blocks, or one that takes blocks apart.
    """
    if unknown := sorted(set(settings) - set(OPTIONS)):
        raise UserError(f"fsdp: expected keys among {', '.join(OPTIONS)}, found {', '.join(unknown)}; remove them")
    options = {**OPTIONS, **settings}
    if not isinstance(options["reshard_after_forward"], bool):
        raise UserError(
            f"fsdp.reshard_after_forward: expected True or False, found {options['reshard_after_forward']!r}; correct it"
        )
    backbone = getattr(model, "backbone", None)
    blocks = [module for module in backbone.modules() if isinstance(module, BLOCKS)] if backbone is not None else []
    if not blocks:
        raise UserError(f"fsdp: expected a model with a backbone of blocks, found {type(model).__name__}; remove fsdp")
    for slot, expected in (("encoding", "an encoding"), ("mask_token", "a mask_token")):
        if getattr(part := getattr(model, slot, None), "takes_blocks_apart", False):
            raise UserError(
                f"fsdp: expected {expected} that runs whole blocks, found {type(part).__name__}, which takes them apart; "
                "remove fsdp"
            )
    # Whole, before anything is spread: an initialiser and a checkpoint's loader want whole tensors.
    cast(Any, model).init_weights()
    for tensor in [*model.parameters(), *model.buffers()]:
        dist.broadcast(tensor.detach(), 0)
    device = next(model.parameters()).device.type
    mesh = init_device_mesh(device, (get_dist_info()[1],))
    for block in blocks:
        fully_shard(block, mesh=mesh, reshard_after_forward=options["reshard_after_forward"])
    fully_shard(model, mesh=mesh)
    for method in ("reconstruct",):  # what is called from outside besides forward
        if hasattr(model, method):
            register_fsdp_forward_method(model, method)
    return model


def whole(value: Any) -> Any:
    """A state with its spread tensors put together, on the CPU of the first process; the others get None for them.

    Every process has to call it, with the same structure of dicts, lists and tuples.
    """
    if isinstance(value, DTensor):
        full = value.full_tensor()
        return full.cpu() if get_dist_info()[0] == 0 else None
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(whole(item) for item in value)
    return value


def like(value: Any, pattern: Any) -> Any:
    """`value`, a whole tensor that every process has, spread as `pattern` is."""
    if isinstance(pattern, DTensor) and torch.is_tensor(value) and value.shape == pattern.shape:
        value = value.to(pattern.device, pattern.dtype)
        # Each process cuts its part out of its own copy.
        return distribute_tensor(value, pattern.device_mesh, pattern.placements, src_data_rank=None)
    return value


def load_whole(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a whole model's state, strictly, into a model that may be spread."""
    own = model.state_dict()
    model.load_state_dict({name: like(value, own.get(name)) for name, value in state.items()})


def spread_optimizer_state(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimizer's whole state, spread as its parameters are."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not any(isinstance(parameter, DTensor) for parameter in parameters):
        return state
    moved = {
        place: {name: like(value, parameters[place]) for name, value in entry.items()}
        for place, entry in state["state"].items()
    }
    return {**state, "state": moved}
