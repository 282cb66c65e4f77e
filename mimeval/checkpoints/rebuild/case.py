"""What a library's class is rebuilt from, and what the rebuilders share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mimeval.backbones.positions import ROTARY, attends_in_windows
from mimeval.checkpoints.formats.architecture import Architecture, State, Swin, ViT

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """What a rebuilder is given. state: by the file's names. out_type: what our backbone returns, as build.py chose it.

    heads: also where the file does not say and a number was guessed for the comparison.
    """

    state: State
    architecture: Any
    out_type: str
    heads: int

    @property
    def hidden(self) -> int:
        """Width of the MLP."""
        return round(self.architecture.embed_dim * self.architecture.mlp_ratio)

    def bare(self, prefix: str) -> State:
        """The tensors below a prefix, without it."""
        return {name.removeprefix(prefix): t for name, t in self.state.items() if name.startswith(prefix)}


class Unable(Exception):
    """The class cannot be this encoder; says why."""


@contextmanager
def parameters_later() -> Iterator[None]:
    """Modules built inside have parameters without memory (meta) and buffers with it; load_state_dict(assign=True) then gives them
    the file's own tensors, so that a large model is neither initialised nor copied."""
    register = nn.Module.register_parameter

    def later(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            parameter = nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
        register(module, name, parameter)

    nn.Module.register_parameter = later  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def filled(model: nn.Module, state: State) -> Any:
    """The model with exactly these tensors, in float32 and eval mode. RuntimeError where names or shapes are others."""
    model.load_state_dict(state, strict=True, assign=True)
    model.float()
    model.eval()
    return model


def as_map(tokens: Tensor, a: Architecture, prefix: int) -> Tensor:
    """Tokens [B, prefix + h * w, D] -> the map [B, D, h, w]."""
    if a.grid is None:
        raise Unable("its grid is not known")
    return tokens[:, prefix:].transpose(1, 2).unflatten(2, a.grid)


def without_registers(tokens: Tensor, registers: int) -> Tensor:
    return torch.cat([tokens[:, :1], tokens[:, 1 + registers :]], dim=1) if registers else tokens


def epsilon(a: Architecture, usual: float, how: str) -> str:
    return "" if a.norm_eps == usual else f" with {how} {a.norm_eps:g}"


def plain(a: Any) -> None:
    # What no class of these libraries computes.
    if isinstance(a, ViT) and (attends_in_windows(a.window_size, a.rel_pos) or a.rel_pos in ROTARY):
        raise Unable("it has no windows, decomposed relative positions or rotations")
    if isinstance(a, Swin) and (a.norm_after_pool or a.norm2_eps not in (None, a.norm_eps)):
        raise Unable("its norms are others (norm after pooling, or an epsilon of their own)")
