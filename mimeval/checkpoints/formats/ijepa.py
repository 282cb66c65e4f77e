"""Checkpoints of facebookresearch/ijepa: a ViT without class token, trained to predict the features of hidden blocks."""

from .architecture import State
from .base import Family
from .dino import FOREIGN
from .mae import ENDS
from .plain import owner

PLAIN = ("pos_embed", "patch_embed.proj.*", "blocks.*", "norm.*")


class IJEPA(Family):
    """`target_encoder`, which the paper evaluates (appendix A.1) by the mean of its tokens, and `encoder` (switch
    container=encoder); bare names. src/models/vision_transformer.py, src/train.py.

    Positions are MAE's sin-cos table without a row for a class token. The official code cannot resize it; here it is computed anew.
    """

    name = "ijepa"
    containers = ("target_encoder", "encoder", "", "state_dict")
    signature = ("blocks.*.attn.qkv.bias", "pos_embed", "norm.weight")
    foreign = (*FOREIGN, "cls_token", "dist_token", "head.*", "fc_norm.*", "decoder_*", "mask_token")
    renames = tuple((name, f"backbone.{name}") for name in PLAIN)
    may_leave = tuple((f"backbone.{pattern}", reason) for pattern, reason in ENDS)
    facts = dict(pos_resample="sincos")

    def recognises(self, state: State, container: str = "") -> bool:
        """As in Family; its positions are known where the key is not."""
        known = container in ("target_encoder", "encoder")
        return super().recognises(state, container) and (known or owner(state, container) == self.name)
