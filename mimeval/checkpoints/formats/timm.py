"""Layouts of timm's VisionTransformer and SwinTransformer (1.0), and of microsoft/Swin-Transformer, which timm reads, too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .architecture import Architecture, State, table_grid
from .base import Normalisation, three_each
from .huggingface import read_config
from .layouts import BUFFERS, ENDS_OF_OURS, Library, with_heads
from .plain import owner
from .simmim import SWIN
from .stored import mapping
from .transform import Step


@dataclass(frozen=True)
class ClassRowIntoToken(Step):
    """With registers, timm's positions have no row for the class token (no_embed_class): it is added to the token itself."""

    def read(self, state: State) -> str | None:
        return None

    def write(self, state: State) -> None:
        table, token = state.get("backbone.pos_embed"), state.get("backbone.cls_token")
        grid = table_grid(table, None)
        if table is None or token is None or grid is None or "backbone.reg_token" not in state:
            return
        rows = table.shape[1] - grid[0] * grid[1]
        if rows:
            state["backbone.cls_token"] = token + table[:, :1]
            state["backbone.pos_embed"] = table[:, rows:]


class Timm(Library):
    """`state_dict` in a `.pth` of its training script, or the file itself; hub folders hold `model.safetensors` and config.json."""

    containers = ("state_dict", "", "model")
    group = package = "timm"
    writable = True

    def beside(self, path: Path) -> dict[str, Any]:
        """As in Family: config.json of a hub folder, for the arguments of the model that it was made with."""
        config = read_config(path)
        return {"config.json": config} if isinstance(config.get("architecture"), str) else {}

    def normalisation(self, meta: dict[str, Any]) -> Normalisation:
        """As in Family: config.json's, which differs from one model of timm to the next."""
        stated = mapping(mapping(meta, "config.json"), "pretrained_cfg")
        return three_each(stated.get("mean"), stated.get("std")) or super().normalisation(meta)

    def architecture(self, own: State, meta: dict[str, Any]) -> Architecture:
        """As in Family."""
        arguments = meta.get("config.json", {}).get("model_args", {})
        return with_heads(super().architecture(own, meta), arguments.get("num_heads"))


class TimmViT(Timm):
    """timm/models/vision_transformer.py; also DeiT III, DINOv2 and others as timm keeps them. Bare names that other families write,
    too, are timm's where a classifier stands beside them (plain.py). Positions are resampled with antialiasing."""

    name = "timm_vit"
    signature = ("blocks.*.attn.qkv.weight", "blocks.*.mlp.fc1.weight", "patch_embed.proj.weight")
    foreign = (
        "*.attn.[qv]_bias",
        "*relative_position*",
        "*.gamma_[12]",
        "*.rel_pos_[hw]",
        "*rope*",
        "norm.[0-9]*",
        "mask_token",
        "register_tokens",
        "dist_token",
        "decoder*",
        "tokenizer.*",
        "pred_head.*",
        "*.attn.pool_*",
    )
    renames = (
        *(
            (name, f"backbone.{name}")
            for name in (
                "cls_token",
                "reg_token",
                "pos_embed",
                "patch_embed.proj.*",
                "blocks.*",
                "norm.*",
                "fc_norm.*",
            )
        ),
        ("head.*", "head.fc.*"),
    )
    steps = (ClassRowIntoToken(),)
    may_leave = (("head.*", "a classifier"), *ENDS_OF_OURS)
    facts = dict(pos_resample="bicubic_antialias")

    def recognises(self, state: State, container: str = "") -> bool:
        """As in Family; with layer scale or registers, or by plain.py."""
        if not super().recognises(state, container):
            return False
        marked = "reg_token" in state or "blocks.0.ls1.gamma" in state
        return marked or (container != "model" and owner(state, container) == "timm")

    def write(self, own: State) -> tuple[State, list[str]]:
        """As in Family; a classifier of other features than one token's has no place."""
        return drop_head(super().write(own), "head.weight", own.get("backbone.cls_token"))


class TimmSwin(Timm):
    """timm/models/swin_transformer.py since 0.9: patch merging at the start of a stage."""

    name = "timm_swin"
    signature = ("layers.*.blocks.*.attn.qkv.weight", "layers.1.downsample.reduction.weight", "patch_embed.norm.weight")
    foreign = ("layers.0.downsample.*", "*.logit_scale", "*.attn.[qv]_bias", "encoder.*", "*.gamma*")
    renames = (
        ("patch_embed.*", "backbone.patch_embed.*"),
        ("layers.*", "backbone.layers.*"),
        ("norm.*", "backbone.norm.*"),
        ("head.fc.*", "head.fc.*"),
    )
    may_leave = (("head.*", "a classifier"), *BUFFERS, *ENDS_OF_OURS)
    facts = dict(table_resample="geometric_linear")


class OfficialSwin(Library):
    """microsoft/Swin-Transformer, and what fine-tunes with its classes (SimMIM, LocalMIM): `model` in a `.pth`, patch merging at the
    end of a stage. Tables are resampled bicubically (utils.py: load_pretrained)."""

    name = "swin"
    containers = ("model", "state_dict", "")
    signature = ("layers.*.blocks.*.attn.qkv.weight", "layers.0.downsample.reduction.weight", "patch_embed.norm.weight")
    foreign = ("*.logit_scale", "*.attn.[qv]_bias", "norm.[0-9]*", "*.gamma*")
    renames = (
        ("patch_embed.*", "backbone.patch_embed.*"),
        *((theirs.removeprefix("encoder."), ours) for theirs, ours in SWIN),
        ("norm.*", "backbone.norm.*"),
        ("head.*", "head.fc.*"),
    )
    may_leave = (("head.*", "a classifier"), *BUFFERS, *ENDS_OF_OURS)
    facts = dict(table_resample="bicubic")


def drop_head(written: tuple[State, list[str]], name: str, token: torch.Tensor | None) -> tuple[State, list[str]]:
    """A written state without a classifier whose inputs are not as many as a token is wide."""
    state, homeless = written
    head = state.get(name)
    if head is None or token is None or (head.dim() == 2 and head.shape[1] == token.shape[-1]):
        return state, homeless
    stem = name.rpartition(".")[0]
    gone = [key for key in state if key.startswith(f"{stem}.")]
    return {key: tensor for key, tensor in state.items() if key not in gone}, [*homeless, *gone]
