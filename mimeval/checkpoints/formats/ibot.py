"""Checkpoints of bytedance/ibot: the backbone of teacher or student, and the training checkpoint with both."""

from .architecture import State
from .base import PRETRAINING, Family
from .dino import BARE_OR_BACKBONE, FOREIGN, PROJECTOR
from .mae import ENDS
from .plain import owner

TWO_HEADS = "head.last_layer2.weight_v"


class IBOT(Family):
    """`checkpoint_teacher.pth` (for ImageNet-22K the student's): `state_dict`, bare names. Training: `teacher`, evaluated for
    ImageNet-1K, and `student`, as DINO's, with a second head and a token for hidden patches (switch container=student).

    Its pooled features (--avgpool_patchtokens) are those of an fc_norm that starts anew. main_ibot.py, models/vision_transformer.py.
    """

    name = "ibot"
    containers = ("teacher", "state_dict", "student")
    signature = ("*blocks.*.attn.qkv.weight", "*cls_token")
    foreign = (*FOREIGN, "dist_token", "decoder_*", "tokenizer.*")
    renames = (
        ("backbone.masked_embed", "encoding.mask_token"),
        ("masked_embed", "encoding.mask_token"),
        *BARE_OR_BACKBONE,
    )
    may_leave = (
        ("encoding.mask_token", PRETRAINING),
        ("head.*", PROJECTOR),
        *((f"backbone.{pattern}", reason) for pattern, reason in ENDS),
    )
    facts = dict(pos_resample="bicubic_offset")

    def recognises(self, state: State, container: str = "") -> bool:
        """As in Family; two heads or a masked_embed, or a bare backbone that is no other family's."""
        if not super().recognises(state, container):
            return False
        marked = TWO_HEADS in state or any(name in state for name in ("masked_embed", "backbone.masked_embed"))
        return marked or owner(state, container) == self.name
