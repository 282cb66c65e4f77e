"""Checkpoints of facebookresearch/mae and of what kept its names (EMAE, timm's plain ViT): pre-trained or tuned."""

from .architecture import State
from .base import PRETRAINING, Family
from .plain import owner

NAMES = (
    ("cls_token", "backbone.cls_token"),
    ("pos_embed", "backbone.pos_embed"),
    ("patch_embed.proj.*", "backbone.patch_embed.proj.*"),
    ("blocks.*", "backbone.blocks.*"),
    ("norm.*", "backbone.norm.*"),
    ("fc_norm.*", "backbone.fc_norm.*"),
    ("head.*", "head.fc.*"),
    ("mask_token", "decoders.0.mask_token"),
    ("decoder_embed.*", "decoders.0.embed.*"),
    ("decoder_pos_embed", "decoders.0.pos_embed"),
    ("decoder_blocks.*", "decoders.0.blocks.*"),
    ("decoder_norm.*", "decoders.0.norm.*"),
    ("decoder_pred.*", "decoders.0.pred.*"),
)
ENDS = (
    ("norm.*", "this backbone ends without norm"),
    ("fc_norm.*", "this backbone ends without fc_norm"),
    ("cls_token", "this backbone has no class token"),
)


class MAE(Family):
    """`model` in a `.pth`, bare names; the public pre-trained files hold the encoder only (methods.md 6)."""

    name = "mae"
    containers = ("model", "state_dict", "")
    signature: tuple[str, ...] = ("blocks.*.attn.qkv.weight",)
    foreign = (
        "*.attn.q_bias",  # BEiT and its kin
        "*relative_position*",
        "*.gamma*",  # layer scale: BEiT, DINOv2
        "register_tokens",
        "reg_token",  # timm's registers
        "*.rel_pos_[hw]",  # ViTDet
        "norm.[0-9]*",  # LocalMIM's taps
        "tokenizer.*",  # ClusterMIM
    )
    renames = NAMES
    may_leave: tuple[tuple[str, str], ...] = (
        ("mask_token", PRETRAINING),
        ("decoder_*", PRETRAINING),
        ("head.*", "a classifier"),
        *ENDS,
    )
    writable = True

    def recognises(self, state: State, container: str = "") -> bool:
        """As in Family; a plain ViT that is no other family's."""
        return super().recognises(state, container) and owner(state, container) == self.name
