"""Checkpoints of facebookresearch/SlowFast's MaskFeat: ViT; MViT is known and refused by name (methods.md 5.4, 6)."""

from mimeval.errors import UserError

from .architecture import State
from .base import PRETRAINING, Family
from .mae import ENDS


class MaskFeat(Family):
    """`model_state` in a `.pyth`, ViT of images. Pre-training has no norm of its own: the head's, on the tokens of the last block
    before the linear layer (models/head_helper.py: MSSeparateHead), is `norm` here. Official fine-tuning starts a new one."""

    name = "maskfeat"
    containers = ("model_state",)
    signature = ("blocks.*.attn.qkv.weight", "pred_head.projections.0.weight", "pred_head.transforms.0.0.weight")
    foreign = ("*.attn.pool_[qkv].*", "*.attn.rel_pos_[hwt]", "pos_embed_*", "decoder_embed.*")
    renames = (
        ("cls_token", "backbone.cls_token"),
        ("pos_embed", "backbone.pos_embed"),
        ("patch_embed.proj.*", "backbone.patch_embed.proj.*"),
        ("blocks.*", "backbone.blocks.*"),
        ("pred_head.transforms.0.0.*", "backbone.norm.*"),
        ("pred_head.projections.0.*", "decoders.0.pred.*"),
        ("mask_token", "encoding.mask_token"),
    )
    may_leave = (
        ("mask_token", PRETRAINING),
        ("pred_head.projections.*", PRETRAINING),
        ("hogs.*", "the filters of HOG, pre-training only"),
        *((f"backbone.{pattern}", reason) for pattern, reason in ENDS),
    )


class MViT(Family):
    """SlowFast's multi-scale ViT: its blocks pool queries, keys and values, which no backbone here does."""

    name = "mvit"
    containers = ("model_state",)
    signature = ("blocks.*.attn.pool_[qkv].weight",)
    renames = ()

    def read(self, state: State) -> tuple[State, dict[str, str], list[str]]:
        """Raises UserError."""
        raise UserError(
            "an MViT of SlowFast, whose attention pools queries, keys and values, is no backbone of this suite; take the "
            "checkpoint of a ViT, for example in1k_VIT_B_MaskFeat_PT_epoch_01600.pyth."
        )
