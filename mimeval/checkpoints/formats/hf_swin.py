"""Layout of transformers' SwinModel, SwinForImageClassification and SwinForMaskedImageModeling."""

from __future__ import annotations

from .architecture import State
from .base import PRETRAINING
from .huggingface import HEAD_REASON, HuggingFace, blocks, without_decoder
from .layouts import BUFFERS, ENDS_OF_OURS, check_one_window
from .transform import JoinQKV, PixelShuffleHead

BLOCK = (
    ("attention.self.query.*", "attn.q.*"),
    ("attention.self.key.*", "attn.k.*"),
    ("attention.self.value.*", "attn.v.*"),
    ("attention.self.relative_position_bias_table", "attn.relative_position_bias_table"),
    ("attention.output.dense.*", "attn.proj.*"),
    ("layernorm_before.*", "norm1.*"),
    ("layernorm_after.*", "norm2.*"),
    ("intermediate.dense.*", "mlp.fc1.*"),
    ("output.dense.*", "mlp.fc2.*"),
)
# The names in the memory of transformers 5.
BLOCK_IN_MEMORY = (
    ("attention.q_proj.*", "attn.q.*"),
    ("attention.k_proj.*", "attn.k.*"),
    ("attention.v_proj.*", "attn.v.*"),
    ("attention.o_proj.*", "attn.proj.*"),
    ("attention.relative_position_bias.relative_position_bias_table", "attn.relative_position_bias_table"),
    ("mlp.fc1.*", "mlp.fc1.*"),
    ("mlp.fc2.*", "mlp.fc2.*"),
)


class HFSwin(HuggingFace):
    """models/swin/modeling_swin.py. Patch merging stands at the end of a stage, its four tokens in Swin's own order."""

    name = "hf_swin"
    prefixes, model_types = ("swin.",), ("swin",)
    signature = ("*encoder.layers.*.blocks.*.layernorm_before.weight", "*embeddings.norm.weight")
    foreign = ("*.logit_scale", "*continuous_position_bias*")
    renames = (
        ("embeddings.mask_token", "encoding.mask_token"),
        ("embeddings.patch_embeddings.projection.*", "backbone.patch_embed.proj.*"),
        ("embeddings.norm.*", "backbone.patch_embed.norm.*"),
        *blocks("encoder.layers.#.blocks.#", "backbone.layers.#.blocks.#", (*BLOCK, *BLOCK_IN_MEMORY)),
        *((f"encoder.layers.{s}.downsample.*", f"backbone.layers.{s + 1}.downsample.*") for s in range(3)),
        ("layernorm.*", "backbone.norm.*"),
        ("classifier.*", "head.fc.*"),
        ("decoder.0.*", "decoders.0.pred.*"),
    )
    steps = (JoinQKV(), PixelShuffleHead())
    may_leave = (
        ("classifier.*", HEAD_REASON),
        ("*embeddings.mask_token", PRETRAINING),
        ("decoder.0.*", PRETRAINING),
        *BUFFERS,
        *ENDS_OF_OURS,
    )

    def write(self, own: State) -> tuple[State, list[str]]:
        """As in Family; another decoder than one linear layer has no place. UserError for windows of several sizes."""
        check_one_window(own)
        return without_decoder(own, super().write)
