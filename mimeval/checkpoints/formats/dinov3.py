"""Checkpoints of facebookresearch/dinov3, ViT, and transformers' and timm's of the same networks, all of them read only.

ConvNeXt is no backbone of this suite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mimeval.backbones.positions import rotation_periods
from mimeval.errors import UserError

from .architecture import Architecture, State, ViT
from .base import BUFFER, PRETRAINING, Family
from .dino import PROJECTOR
from .eva import GATES, TIMM_GATES
from .huggingface import ATTENTION_IN_MEMORY, EMBEDDINGS, HuggingFace, blocks
from .layouts import ENDS_OF_OURS
from .mae import ENDS
from .stored import mapping
from .timm import Timm
from .transform import JoinGate, JoinQKV, QueryValueBias, Step

PERIODS = "backbone.rotation.periods"
# Heads are 64 wide, but those of the 7B model.
WIDE_HEADS = {4096: 128}


@dataclass(frozen=True)
class MaskedKeyBias(Step):
    """`attn.qkv.bias_mask` beside each `qkv.bias`, 0 for k and 1 for q and v -> a bias that is zero for k."""

    def read(self, state: State) -> str | None:
        masks = [name for name in state if name.endswith(".attn.qkv.bias_mask")]
        for name in masks:
            del state[name]
            bias = state[name.removesuffix("_mask")].clone()
            bias.unflatten(0, (3, -1))[1] = 0
            state[name.removesuffix("_mask")] = bias
        return f"the bias of k of {len(masks)} blocks set to zero, as it is masked" if masks else None


class DINOv3(Family):
    """The file itself, bare names (hub); `teacher` of a training. Positions are rotations alone, of no size (rotary.py), whose `periods`
    the file holds; `storage_tokens` are registers; SwiGLU is w1, w2, w3. dinov3/models/vision_transformer.py, hub/backbones.py.

    Images of satellites (the SAT-493M models) are normalised otherwise, which the file does not say.
    """

    name = "dinov3"
    containers = ("", "model", "teacher", "state_dict")
    signature = ("*rope_embed.periods", "*blocks.*.attn.qkv.weight", "*norm.weight")
    foreign = ("*relative_position*", "*.attn.q_bias", "pos_embed")
    renames = (
        ("storage_tokens", "backbone.reg_token"),
        ("rope_embed.periods", "backbone.rotation.periods"),
        ("mask_token", "encoding.mask_token"),
        *GATES,
        *((name, f"backbone.{name}") for name in ("cls_token", "patch_embed.proj.*", "blocks.*", "norm.*")),
    )
    steps = (MaskedKeyBias(), JoinGate())
    may_leave = (
        ("encoding.mask_token", PRETRAINING),
        ("*bias_mask", BUFFER),
        ("local_cls_norm.*", f"the norm of small crops, {PRETRAINING}"),
        ("dino_head.*", PROJECTOR),
        ("ibot_head.*", PROJECTOR),
        ("backbone.reg_token", "this backbone has no registers"),
        *((f"backbone.{pattern}", reason) for pattern, reason in ENDS),
    )
    facts = dict(k_bias=False, norm_eps=1e-5)

    def own_name(self, name: str) -> str | None:
        """As in Family; a training keeps the backbone's names below `backbone.`."""
        return super().own_name(name.removeprefix("backbone."))


@dataclass(frozen=True)
class UpProjection(Step):
    """`mlp.up` is the value beside a gate, and the first layer of an MLP without one."""

    def read(self, state: State) -> str | None:
        for name in [name for name in state if ".mlp.up." in name]:
            kind = "value" if name.replace(".mlp.up.", ".mlp.gate.") in state else "fc1"
            state[name.replace(".mlp.up.", f".mlp.{kind}.")] = state.pop(name)
        return None


@dataclass(frozen=True)
class AbsentBias(Step):
    """A joint projection without any bias is one with zeros."""

    def read(self, state: State) -> str | None:
        names = [name for name in state if name.endswith(".attn.qkv.weight") and _bias(name) not in state]
        for name in names:
            state[_bias(name)] = state[name].new_zeros(len(state[name]))
        return f"qkv.bias of {len(names)} blocks added, zero" if names else None


@dataclass(frozen=True)
class Periods(Step):
    """Libraries compute the periods of the rotation anew: 100^(4j / d), of heads d wide."""

    def read(self, state: State) -> str | None:
        width = len(state["backbone.norm.weight"])
        pairs = WIDE_HEADS.get(width, 64) // 4
        state[PERIODS] = rotation_periods(pairs)
        return f"periods of the rotation computed for heads {4 * pairs} wide"


def _bias(name: str) -> str:
    return name.removesuffix("weight") + "bias"


class HFDINOv3(HuggingFace):
    """models/dinov3_vit/modeling_dinov3_vit.py."""

    name = "hf_dinov3"
    prefixes, model_types, group, writable = ("dinov3_vit.", "model."), ("dinov3_vit",), "", False
    signature = ("*embeddings.register_tokens", "*layer.*.layer_scale1.lambda1", "*layer.*.mlp.up_proj.weight")
    foreign = ("*position_embeddings", "*encoder.layer.*")
    renames = (
        EMBEDDINGS[0],
        ("embeddings.register_tokens", "backbone.reg_token"),
        ("embeddings.mask_token", "encoding.mask_token"),
        ("embeddings.patch_embeddings.*", "backbone.patch_embed.proj.*"),
        *(
            row
            for layer in ("layer.#", "model.layer.#")
            for row in blocks(
                layer,
                "backbone.blocks.#",
                (
                    *ATTENTION_IN_MEMORY,
                    ("norm1.*", "norm1.*"),
                    ("norm2.*", "norm2.*"),
                    ("layer_scale1.lambda1", "ls1.gamma"),
                    ("layer_scale2.lambda1", "ls2.gamma"),
                    ("mlp.gate_proj.*", "mlp.gate.*"),
                    ("mlp.up_proj.*", "mlp.up.*"),
                    ("mlp.down_proj.*", "mlp.fc2.*"),
                ),
            )
        ),
        ("norm.*", "backbone.norm.*"),
    )
    steps = (JoinQKV(k_bias=False), UpProjection(), JoinGate(), Periods())
    may_leave = (("*embeddings.mask_token", PRETRAINING), *ENDS_OF_OURS)
    facts = dict(k_bias=False, norm_eps=1e-5)

    def architecture(self, own: State, meta: dict[str, Any]) -> Architecture:
        """As in Family. UserError where config.json states other heads than all of DINOv3's."""
        stated, found = mapping(meta, "config.json").get("num_attention_heads"), super().architecture(own, meta)
        heads = found.num_heads if isinstance(found, ViT) else None
        if stated not in (None, heads):
            raise UserError(f"config.json states {stated} heads, expected {heads}, as in every DINOv3 of this width.")
        return found


class TimmDINOv3(Timm):
    """timm/models/eva.py: DINOv3 under timm's names; without a bias of q, k and v, or (`qkvb`) with those of q and v."""

    name, group, writable = "timm_dinov3", "", False
    signature = ("reg_token", "blocks.*.gamma_1", "blocks.*.attn.qkv.weight", "norm.weight")
    foreign = ("pos_embed", "*relative_position*", "*rope*", "*.attn.qkv.bias", "mask_token")
    renames = (
        *((f"blocks.#.gamma_{branch}", f"backbone.blocks.#.ls{branch}.gamma") for branch in (1, 2)),
        *TIMM_GATES,
        *(
            (name, f"backbone.{name}")
            for name in ("cls_token", "reg_token", "patch_embed.proj.*", "blocks.*", "norm.*")
        ),
        ("head.*", "head.fc.*"),
    )
    steps = (QueryValueBias(), AbsentBias(), JoinGate(), Periods())
    may_leave = (("head.*", "a classifier"), *ENDS_OF_OURS)
    facts = dict(k_bias=False, norm_eps=1e-5)
