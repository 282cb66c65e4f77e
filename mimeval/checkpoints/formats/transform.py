"""Transformations between a family's tensors and ours, each with its inverse. Names are own names; states change in place.

`read` returns a sentence that says what was done, None where there was nothing to do. `write` undoes it, and raises UserError
where the family's layout cannot hold what is there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mimeval.errors import UserError

State = dict[str, Tensor]


class Step:
    """One transformation."""

    def read(self, state: State) -> str | None:
        """From the family's layout to ours."""
        raise NotImplementedError

    def write(self, state: State) -> None:
        """From ours to the family's."""
        raise NotImplementedError


@dataclass(frozen=True)
class QueryValueBias(Step):
    """BEiT, SimMIM, CAE, data2vec: `q_bias` and `v_bias` beside qkv.weight, none for k -> `qkv.bias` with zeros for k."""

    prefix: str = "backbone.blocks."

    def read(self, state: State) -> str | None:
        names = [name for name in state if name.startswith(self.prefix) and name.endswith(".attn.q_bias")]
        for name in names:
            attention = name.removesuffix("q_bias")
            q, v = state.pop(name), state.pop(f"{attention}v_bias", None)
            if v is None:
                raise UserError(f"{name} stands in the checkpoint without its v_bias; get the whole file.")
            state[f"{attention}qkv.bias"] = torch.cat([q, torch.zeros_like(q), v])
        return f"q_bias and v_bias of {len(names)} blocks joined to qkv.bias, zero for k" if names else None

    def write(self, state: State) -> None:
        names = [name for name in state if name.startswith(self.prefix) and name.endswith(".attn.qkv.bias")]
        for name in names:
            q, k, v = state.pop(name).chunk(3)
            if k.count_nonzero():
                raise UserError(f"{name} has a bias for k, which this format cannot hold; convert to another one.")
            attention = name.removesuffix("qkv.bias")
            state[f"{attention}q_bias"], state[f"{attention}v_bias"] = q, v


@dataclass(frozen=True)
class JoinQKV(Step):
    """Three projections `attn.q`, `attn.k`, `attn.v` (Hugging Face, EVA-02) -> one `attn.qkv`. k_bias: whether k has a bias."""

    k_bias: bool = True

    def read(self, state: State) -> str | None:
        names = [name for name in state if name.endswith(".attn.q.weight")]
        for name in names:
            attention = name.removesuffix("q.weight")
            state[f"{attention}qkv.weight"] = torch.cat([_taken(state, f"{attention}{part}.weight") for part in "qkv"])
            biases = [state.pop(f"{attention}{part}.bias", None) for part in "qkv"]
            given = next((bias for bias in biases if bias is not None), None)
            if given is not None:
                filled = [torch.zeros_like(given) if bias is None else bias for bias in biases]
                state[f"{attention}qkv.bias"] = torch.cat(filled)
        return f"q, k and v of {len(names)} blocks joined to qkv" if names else None

    def write(self, state: State) -> None:
        for name in [name for name in state if re.search(r"\.attn\.qkv\.(weight|bias)$", name)]:
            attention, _, kind = name.rpartition("qkv.")
            parts = dict(zip("qkv", state.pop(name).chunk(3), strict=True))
            if kind == "bias" and not self.k_bias:
                if parts.pop("k").count_nonzero():
                    raise UserError(f"{name} has a bias for k, which this format cannot hold; convert to another one.")
            for part, tensor in parts.items():
                state[f"{attention}{part}.{kind}"] = tensor


@dataclass(frozen=True)
class JoinGate(Step):
    """Gate and value of a SwiGLU as two layers, `mlp.gate` and `mlp.value` -> one `mlp.fc1`, the gate first."""

    def read(self, state: State) -> str | None:
        names = [name for name in state if name.endswith(".mlp.gate.weight")]
        for name in names:
            mlp = name.removesuffix("gate.weight")
            for kind in ("weight", "bias"):
                parts = [state.pop(f"{mlp}{part}.{kind}", None) for part in ("gate", "value")]
                if any(part is None for part in parts):
                    raise UserError(
                        f"{mlp}{kind} of the gate or the value is not in the checkpoint; get the whole file."
                    )
                state[f"{mlp}fc1.{kind}"] = torch.cat([part for part in parts if part is not None])
        return f"gate and value of {len(names)} blocks joined to fc1" if names else None

    def write(self, state: State) -> None:
        for name in [name for name in state if ".mlp.fc1." in name]:
            mlp, _, kind = name.rpartition("fc1.")
            state[f"{mlp}gate.{kind}"], state[f"{mlp}value.{kind}"] = state.pop(name).chunk(2)


@dataclass(frozen=True)
class MergingOrder(Step):
    """Swin's patch merging joins four tokens in another order than timm and Swin, whose is (0,0), (1,0), (0,1), (1,1).

    order: place in our order of each of the four that the family joins; (0, 2, 1, 3) is its own inverse.
    channels_first: each channel's four values lie together (mm*, which unfolds), not each token's channels.
    """

    order: Sequence[int] = (0, 2, 1, 3)
    channels_first: bool = False

    def read(self, state: State) -> str | None:
        names = list(self._names(state))
        for name in names:
            four = self._split(state[name])
            state[name] = four[..., torch.tensor(self.order).argsort(), :].flatten(-2)
        return f"patch merging of {len(names) // 3} stages put into timm's order" if names else None

    def write(self, state: State) -> None:
        for name in self._names(state):
            four = state[name].unflatten(-1, (4, -1))[..., torch.tensor(self.order), :]
            state[name] = (four.transpose(-1, -2) if self.channels_first else four).flatten(-2)

    def _split(self, tensor: Tensor) -> Tensor:
        if self.channels_first:
            return tensor.unflatten(-1, (-1, 4)).transpose(-1, -2)
        return tensor.unflatten(-1, (4, -1))

    @staticmethod
    def _names(state: State) -> Iterator[str]:
        pattern = re.compile(r"backbone\.layers\.\d+\.downsample\.(norm\.weight|norm\.bias|reduction\.weight)")
        return (name for name in list(state) if pattern.fullmatch(name))


@dataclass(frozen=True)
class PixelShuffleHead(Step):
    """SimMIM's head, a 1 x 1 convolution whose outputs are (channel, row, column) of a patch -> a linear layer (row, column, channel)."""

    name: str = "decoders.0.pred"

    def read(self, state: State) -> str | None:
        weight, bias = state.get(f"{self.name}.weight"), state.get(f"{self.name}.bias")
        if weight is None or bias is None or weight.dim() != 4:
            return None
        side = math.isqrt(len(weight) // 3)
        for kind, tensor in (("weight", weight[:, :, 0, 0]), ("bias", bias)):
            state[f"{self.name}.{kind}"] = tensor.unflatten(0, (3, side, side)).movedim(0, 2).flatten(0, 2)
        return "convolution of the pixel head reshaped to a linear layer, in the order of its target"

    def write(self, state: State) -> None:
        weight, bias = state.get(f"{self.name}.weight"), state.get(f"{self.name}.bias")
        if weight is None or bias is None:
            return
        side = math.isqrt(len(weight) // 3)
        for kind, tensor in (("weight", weight[:, :, None, None]), ("bias", bias)):
            state[f"{self.name}.{kind}"] = tensor.unflatten(0, (side, side, 3)).movedim(2, 0).flatten(0, 2)


def _taken(state: State, name: str) -> Tensor:
    if name not in state:
        raise UserError(f"{name} is not in the checkpoint, though its q is; get the whole file.")
    return state.pop(name)
