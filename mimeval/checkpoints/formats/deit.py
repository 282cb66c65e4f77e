"""Checkpoints of facebookresearch/deit: a classifier of ImageNet, plain or distilled."""

from mimeval.errors import UserError

from .architecture import State
from .base import Family
from .mae import ENDS, MAE
from .plain import owner

TOKEN = "backbone.dist_token"


class DeiT(Family):
    """`model`, bare names, with `norm` and `head`; also MAE's tuned with --cls_token, which has the same names.

    The distilled one has a second token, which no backbone here has and without which its features change: loading it is an error
    but for the waiver unexpected:dist_token (unexpected:backbone.dist_token of a converted file). deit/models.py.
    """

    name = "deit"
    containers = ("model", "state_dict", "")
    signature = ("blocks.*.attn.qkv.weight", "cls_token", "pos_embed")
    foreign = MAE.foreign
    renames = (
        ("head.*", "head.fc.*"),
        *(
            (n, f"backbone.{n}")
            for n in ("cls_token", "dist_token", "pos_embed", "patch_embed.proj.*", "blocks.*", "norm.*")
        ),
    )
    may_leave = (
        ("head.*", "a classifier"),
        ("head_dist.*", "the classifier of the distillation token"),
        *((f"backbone.{pattern}", reason) for pattern, reason in ENDS),
    )

    def recognises(self, state: State, container: str = "") -> bool:
        """As in Family."""
        return super().recognises(state, container) and owner(state, container) == self.name

    def read(self, state: State) -> tuple[State, dict[str, str], list[str]]:
        """As in Family; the position of the distillation token goes into that token. UserError where it has none."""
        own, origin, notes = super().read(state)
        token, table = own.get(TOKEN), own.get("backbone.pos_embed")
        if token is None or table is None:
            return own, origin, notes
        if token.shape != table[:, :1].shape or table.shape[1] < 3:
            raise UserError(
                f"dist_token has shape {list(token.shape)} beside positions {list(table.shape)}, expected a row of positions for "
                "it after that of the class token; get the whole file."
            )
        own[TOKEN] = token + table[:, 1:2]
        own["backbone.pos_embed"] = table[:, [0, *range(2, table.shape[1])]]
        return own, origin, [*notes, "the position of the distillation token moved from pos_embed into dist_token"]
