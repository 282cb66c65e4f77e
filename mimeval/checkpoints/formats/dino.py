"""Checkpoints of facebookresearch/dino: the backbone alone, and the training checkpoint with student and teacher."""

from .architecture import State
from .base import PRETRAINING, Family
from .mae import ENDS
from .plain import owner

# A plain ViT's names, bare or below `backbone.`.
PLAIN = ("cls_token", "pos_embed", "patch_embed.proj.*", "blocks.*", "norm.*")
BARE_OR_BACKBONE = tuple((f"{prefix}{name}", f"backbone.{name}") for prefix in ("backbone.", "") for name in PLAIN)
FOREIGN = ("*.attn.q_bias", "*relative_position*", "*.gamma*", "*register_tokens", "*reg_token", "*.rel_pos_[hw]")
PROJECTOR = f"the projection head, {PRETRAINING}"


class DINO(Family):
    """`*_pretrain.pth`: bare names. Training: `teacher`, which is evaluated, and `student`, with `backbone.` and `head.` before
    the names (switch container=student for the other one). hubconf.py, main_dino.py, utils.py: load_pretrained_weights."""

    name = "dino"
    containers = ("teacher", "student", "")
    signature = ("*blocks.*.attn.qkv.weight", "*cls_token")
    foreign = (*FOREIGN, "head.last_layer2.*", "*masked_embed", "*mask_token", "dist_token", "decoder_*", "tokenizer.*")
    renames = BARE_OR_BACKBONE
    may_leave = (
        ("head.*", PROJECTOR),
        ("projection_head.*", PROJECTOR),  # the first training checkpoints (issue 65)
        *((f"backbone.{pattern}", reason) for pattern, reason in ENDS),
    )
    facts = dict(pos_resample="bicubic_offset")

    def recognises(self, state: State, container: str = "") -> bool:
        """As in Family; a head of weight-normed prototypes, or a bare backbone that is no other family's."""
        if not super().recognises(state, container):
            return False
        if any(name.startswith("backbone.") for name in state):
            return "head.last_layer.weight_v" in state or container in ("teacher", "student")
        return "projection_head.last_layer.weight_v" in state or owner(state, container) == self.name
