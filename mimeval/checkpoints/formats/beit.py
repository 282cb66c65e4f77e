"""Checkpoints of microsoft/unilm's BEiT and BEiT v2, pre-trained and fine-tuned."""

import math
from dataclasses import dataclass

from mimeval.backbones.positions import relative_index

from .architecture import State
from .base import HALF, IMAGENET_MEAN, IMAGENET_STD, PRETRAINING, Family
from .mae import ENDS
from .transform import QueryValueBias, Step

TABLE, INDEX = "relative_position_bias_table", "relative_position_index"


@dataclass(frozen=True)
class TableIndex(Step):
    """Beside each table of relative biases, its index [1 + L, 1 + L], int64: computed anew for each grid, so not kept here."""

    def read(self, state: State) -> str | None:
        names = [name for name in state if name.endswith(INDEX)]
        for name in names:
            del state[name]
        return f"{INDEX} of {len(names)} tables left out, computed anew for each grid" if names else None

    def write(self, state: State) -> None:
        for name in [name for name in state if name.endswith(TABLE)]:
            side = math.isqrt(len(state[name]) - 3)
            if side**2 == len(state[name]) - 3 and side % 2:
                index = relative_index(((side + 1) // 2, (side + 1) // 2))
                state[name.removesuffix(TABLE) + INDEX] = index


class BEiT(Family):
    """`model` in a `.pth` (`module` by DeepSpeed), bare names. Pre-trained: one table of relative biases, `mask_token` and
    `lm_head`; fine-tuned: a table in each block, `fc_norm` and `head`, no `norm`. modeling_pretrain.py, modeling_finetune.py.

    run_class_finetuning.py copies the one table into every block, resizes tables geometrically, and starts a new fc_norm.
    """

    name = "beit"
    containers = ("model", "module", "state_dict", "")
    signature: tuple[str, ...] = ("blocks.*.attn.q_bias", "*relative_position_bias_table")
    foreign: tuple[str, ...] = ("encoder.*", "backbone.*", "pos_embed", "cls_pt_layers.*", "*rope*")
    renames = (
        ("blocks.#.gamma_1", "backbone.blocks.#.ls1.gamma"),
        ("blocks.#.gamma_2", "backbone.blocks.#.ls2.gamma"),
        *(
            (name, f"backbone.{name}")
            for name in ("cls_token", "patch_embed.proj.*", "rel_pos_bias.*", "blocks.*", "norm.*", "fc_norm.*")
        ),
        ("mask_token", "encoding.mask_token"),
        ("lm_head.*", "lm_head.*"),
        ("cls_pt_layers.*", "cls_pt_layers.*"),
        ("head.*", "head.fc.*"),
    )
    steps = (TableIndex(), QueryValueBias())
    may_leave = (
        ("mask_token", PRETRAINING),
        ("lm_head.*", PRETRAINING),
        ("cls_pt_layers.*", f"the head of the class token, {PRETRAINING}"),
        ("head.*", "a classifier"),
        *((f"backbone.{pattern}", reason) for pattern, reason in ENDS),
    )
    facts = dict(k_bias=False, table_resample="geometric")
    mean = std = HALF
    writable = True

    def recognises(self, state: State, container: str = "") -> bool:
        """As in Family; pre-trained, it predicts tokens of a vocabulary, not features of its own width (data2vec)."""
        return super().recognises(state, container) and not regresses_features(state)

    def their_name(self, name: str) -> str | None:
        """As in Family; BEiT v2's files, which have more, are written, too."""
        if name.startswith("cls_pt_layers."):
            return name
        return super().their_name(name)


class BEiTv2(BEiT):
    """As BEiT, with blocks for the class token beside it in pre-training (beit2/modeling_pretrain.py). Fine-tuned, it has BEiT's
    names."""

    name = "beit2"
    signature = (*BEiT.signature, "cls_pt_layers.*")
    foreign = tuple(pattern for pattern in BEiT.foreign if pattern != "cls_pt_layers.*")
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    writable, written_as = False, BEiT.name


def regresses_features(state: State) -> bool:
    """Whether this is data2vec's: its head maps features to features, and its one table stays shared when fine-tuned."""
    head = state.get("lm_head.weight")
    if head is not None:
        return head.shape[0] == head.shape[1]
    return "rel_pos_bias.relative_position_bias_table" in state and "norm.weight" not in state
