"""Layout of transformers' Dinov2Model and Dinov2WithRegistersModel, with classifiers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .architecture import Architecture, State, ViT
from .base import PRETRAINING
from .huggingface import ATTENTION, ATTENTION_IN_MEMORY, EMBEDDINGS, HEAD_REASON, HuggingFace, blocks
from .layouts import ENDS_OF_OURS, ClassRow, is_gated
from .transform import JoinQKV

REST = (
    ("norm1.*", "norm1.*"),
    ("norm2.*", "norm2.*"),
    ("layer_scale1.lambda1", "ls1.gamma"),
    ("layer_scale2.lambda1", "ls2.gamma"),
    ("mlp.fc1.*", "mlp.fc1.*"),
    ("mlp.fc2.*", "mlp.fc2.*"),
    ("mlp.weights_in.*", "mlp.fc1.*"),
    ("mlp.weights_out.*", "mlp.fc2.*"),
)
REGISTERS = "backbone.reg_token"


class HFDINOv2(HuggingFace):
    """models/dinov2/modeling_dinov2.py, models/dinov2_with_registers. Its classifier takes class token and mean of the patches.

    Positions are resized bicubically, with registers antialiased; the official code of DINOv2 adds an offset.
    """

    name = "hf_dinov2"
    prefixes = ("dinov2.", "dinov2_with_registers.")
    model_types = ("dinov2", "dinov2_with_registers")
    signature = ("*embeddings.cls_token", "*embeddings.position_embeddings", "*.layer_scale1.lambda1")
    renames = (
        *EMBEDDINGS,
        ("embeddings.mask_token", "encoding.mask_token"),
        ("embeddings.register_tokens", REGISTERS),
        *blocks("encoder.layer.#", "backbone.blocks.#", (*ATTENTION, *ATTENTION_IN_MEMORY, *REST)),
        ("layernorm.*", "backbone.norm.*"),
        ("classifier.*", "head.fc.*"),
    )
    steps = (JoinQKV(), ClassRow())
    may_leave = (("classifier.*", HEAD_REASON), ("*embeddings.mask_token", PRETRAINING), *ENDS_OF_OURS)

    def architecture(self, own: State, meta: dict[str, Any]) -> Architecture:
        """As in Family."""
        architecture = super().architecture(own, meta)
        registers = isinstance(architecture, ViT) and architecture.registers > 0
        return replace(architecture, pos_resample="bicubic_antialias" if registers else "bicubic")

    def prefix_for(self, own: State) -> str:
        return self.prefixes[REGISTERS in own]

    def write(self, own: State) -> tuple[State, list[str]]:
        """As in Family; a classifier of one token has no place, and a token of hidden patches is there, zero if it must."""
        own, left = dict(own), []
        token, head = own.get("backbone.cls_token"), own.get("head.fc.weight")
        if token is not None and head is not None and head.shape[-1] != 2 * token.shape[-1]:
            left = [name for name in own if name.startswith("head.fc.")]
        if token is not None and "encoding.mask_token" not in own:
            own["encoding.mask_token"] = token.new_zeros(1, token.shape[-1])
        state, homeless = super().write({name: tensor for name, tensor in own.items() if name not in left})
        if is_gated(own):
            names = ((".mlp.fc1.", ".mlp.weights_in."), (".mlp.fc2.", ".mlp.weights_out."))
            state = {n.replace(*names[0]).replace(*names[1]): tensor for n, tensor in state.items()}
        return state, [*homeless, *left]
