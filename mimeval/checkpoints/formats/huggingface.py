"""Layouts of Hugging Face's transformers: ViT and ViTMAE. DINOv2 and Swin are in files of their own.

Files keep the names of transformers 4 (`encoder.layer.0.attention.attention.query`); the classes of transformers 5 have others in
memory (`layers.0.attention.q_proj`) and translate both ways. Both are read here, the file's are written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .architecture import Architecture, State
from .base import PRETRAINING, Normalisation, three_each
from .layouts import ENDS_OF_OURS, ClassRow, Library, with_heads, without_other_decoders
from .stored import mapping
from .transform import JoinQKV, PixelShuffleHead

LARGEST_CONFIG = 1 << 20
PROCESSOR = "preprocessor_config.json"
HEAD_REASON = "a classifier"
EMBEDDINGS = (
    ("embeddings.cls_token", "backbone.cls_token"),
    ("embeddings.position_embeddings", "backbone.pos_embed"),
    ("embeddings.patch_embeddings.projection.*", "backbone.patch_embed.proj.*"),
)
# One block: in files, and in the memory of transformers 5.
ATTENTION = (
    ("attention.attention.query.*", "attn.q.*"),
    ("attention.attention.key.*", "attn.k.*"),
    ("attention.attention.value.*", "attn.v.*"),
    ("attention.output.dense.*", "attn.proj.*"),
)
ATTENTION_IN_MEMORY = (
    ("attention.q_proj.*", "attn.q.*"),
    ("attention.k_proj.*", "attn.k.*"),
    ("attention.v_proj.*", "attn.v.*"),
    ("attention.o_proj.*", "attn.proj.*"),
)
BLOCK = (
    *ATTENTION,
    ("layernorm_before.*", "norm1.*"),
    ("layernorm_after.*", "norm2.*"),
    ("intermediate.dense.*", "mlp.fc1.*"),
    ("output.dense.*", "mlp.fc2.*"),
)
BLOCK_IN_MEMORY = (
    *ATTENTION_IN_MEMORY,
    ("layernorm_before.*", "norm1.*"),
    ("layernorm_after.*", "norm2.*"),
    ("mlp.fc1.*", "mlp.fc1.*"),
    ("mlp.fc2.*", "mlp.fc2.*"),
)


def blocks(theirs: str, ours: str, rows: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The rows of one block below the names of their block and ours."""
    return tuple((f"{theirs}.{name}", f"{ours}.{own}") for name, own in rows)


def read_config(path: Path, name: str = "config.json") -> dict[str, Any]:
    """A JSON file in the folder of a checkpoint, empty where there is none that can be read."""
    config = path.parent / name
    try:
        if config.stat().st_size > LARGEST_CONFIG:
            return {}
        content = json.loads(config.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


class HuggingFace(Library):
    """`model.safetensors`, whole or in shards with an index; config.json beside it tells heads and LayerNorm's epsilon.

    The encoder's names are bare in a `...Model`, and below `prefix` where another part (classifier, decoder) stands beside it.
    """

    containers = ("state_dict", "model", "")
    group, package = "hf", "transformers"
    writable = True
    prefixes: tuple[str, ...]
    """Of the encoder; the first is written."""
    model_types: tuple[str, ...]
    """Of config.json."""
    parts: tuple[str, ...] = ("classifier.", "decoder.")
    """Names of other parts begin with these."""

    def own_name(self, name: str) -> str | None:
        """As in Family, with the prefix of the encoder or without."""
        prefix = next((prefix for prefix in self.prefixes if name.startswith(prefix)), "")
        return super().own_name(name.removeprefix(prefix))

    def write(self, own: State) -> tuple[State, list[str]]:
        """As in Family."""
        state, homeless = super().write(own)
        if not any(name.startswith(self.parts) for name in state):
            return state, homeless
        prefix = self.prefix_for(own)
        named = {n if n.startswith(self.parts) else f"{prefix}{n}": tensor for n, tensor in state.items()}
        return named, homeless

    def prefix_for(self, own: State) -> str:
        return self.prefixes[0]

    def beside(self, path: Path) -> dict[str, Any]:
        """As in Family: config.json, where it is of such a model, and the settings of its image processor."""
        config = read_config(path)
        if config.get("model_type") not in self.model_types:
            return {}
        return {"config.json": config, PROCESSOR: read_config(path, PROCESSOR)}

    def normalisation(self, meta: dict[str, Any]) -> Normalisation:
        """As in Family: the image processor's."""
        stated = mapping(meta, PROCESSOR)
        return three_each(stated.get("image_mean"), stated.get("image_std")) or super().normalisation(meta)

    def architecture(self, own: State, meta: dict[str, Any]) -> Architecture:
        """As in Family; config.json says what shapes do not."""
        architecture, config = super().architecture(own, meta), meta.get("config.json", {})
        epsilon = config.get("layer_norm_eps")
        if isinstance(epsilon, float) and epsilon > 0:
            architecture = replace(architecture, norm_eps=epsilon)
        return with_heads(architecture, config.get("num_attention_heads"))


class HFViT(HuggingFace):
    """ViTModel, ViTForImageClassification, ViTForMaskedImageModeling and ViTMAEModel (models/vit/modeling_vit.py).

    The classes' own LayerNorm epsilon is 1e-12; files from elsewhere need theirs in config.json (layer_norm_eps).
    """

    name = "hf_vit"
    prefixes, model_types = ("vit.",), ("vit", "vit_mae")
    signature = ("*embeddings.cls_token", "*embeddings.position_embeddings", "*layernorm_before.weight")
    foreign = ("*lambda_*", "*relative_position*", "*distillation_token", "decoder.decoder_*", "*register_tokens")
    renames = (
        *EMBEDDINGS,
        ("embeddings.mask_token", "encoding.mask_token"),
        *blocks("encoder.layer.#", "backbone.blocks.#", BLOCK),
        *blocks("layers.#", "backbone.blocks.#", BLOCK_IN_MEMORY),
        ("layernorm.*", "backbone.norm.*"),
        ("pooler.dense.*", "pooler.dense.*"),
        ("classifier.*", "head.fc.*"),
        ("decoder.0.*", "decoders.0.pred.*"),
    )
    steps = (JoinQKV(), PixelShuffleHead(), ClassRow())
    may_leave = (
        ("classifier.*", HEAD_REASON),
        ("pooler.*", "a head on the class token"),
        ("*embeddings.mask_token", PRETRAINING),
        ("decoder.0.*", PRETRAINING),
        *ENDS_OF_OURS,
    )
    facts = dict(norm_eps=1e-12, pos_resample="bicubic")

    def write(self, own: State) -> tuple[State, list[str]]:
        """As in Family; another decoder than one linear layer has no place, nor has the token that stands in it."""
        return without_decoder(own, super().write)


class HFViTMAE(HuggingFace):
    """ViTMAEForPreTraining (models/vit_mae/modeling_vit_mae.py): MAE with its decoder.

    The decoder's blocks are `decoder.decoder_layers.N` in the published files; transformers 5.23 saves `decoder.decoder_encoder.layer.N`.
    """

    name = "hf_vitmae"
    prefixes, model_types = ("vit.",), ("vit_mae",)
    signature = (*HFViT.signature, "decoder.decoder_embed.weight")
    foreign = tuple(pattern for pattern in HFViT.foreign if not pattern.startswith("decoder"))
    renames = (
        *EMBEDDINGS,
        *blocks("encoder.layer.#", "backbone.blocks.#", BLOCK),
        *blocks("layers.#", "backbone.blocks.#", BLOCK_IN_MEMORY),
        ("layernorm.*", "backbone.norm.*"),
        ("decoder.mask_token", "decoders.0.mask_token"),
        ("decoder.decoder_pos_embed", "decoders.0.pos_embed"),
        ("decoder.decoder_embed.*", "decoders.0.embed.*"),
        *blocks("decoder.decoder_layers.#", "decoders.0.blocks.#", BLOCK),
        *blocks("decoder.decoder_encoder.layer.#", "decoders.0.blocks.#", BLOCK),
        *blocks("decoder.decoder_layers.#", "decoders.0.blocks.#", BLOCK_IN_MEMORY),
        ("decoder.decoder_norm.*", "decoders.0.norm.*"),
        ("decoder.decoder_pred.*", "decoders.0.pred.*"),
    )
    steps = (JoinQKV(), ClassRow())
    may_leave = (("decoders.*", PRETRAINING), *ENDS_OF_OURS)
    facts = dict(norm_eps=1e-12, pos_resample="bicubic")

    def write(self, own: State) -> tuple[State, list[str]]:
        """As in Family; another decoder than MAE's has no place."""
        own, other = without_other_decoders(own)
        state, homeless = super().write(own)
        return state, [*homeless, *other]


def without_decoder(own: Mapping[str, Any], write: Any) -> tuple[State, list[str]]:
    """What `write` gives for a model without its decoder, if that is more than one linear layer; its names are homeless."""
    decoder = [name for name in own if name.startswith("decoders.")]
    if not any(not name.startswith("decoders.0.pred.") for name in decoder):
        return write(dict(own))
    state, homeless = write({name: tensor for name, tensor in own.items() if name not in decoder})
    return state, [*homeless, *decoder]
