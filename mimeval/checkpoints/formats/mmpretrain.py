"""Layouts of mmpretrain's VisionTransformer and BEiTViT, and of their pre-training in mmpretrain and mmselfsup."""

from __future__ import annotations

from typing import TypeVar

from .architecture import State
from .base import HALF, IMAGENET_MEAN, IMAGENET_STD
from .beit import TableIndex
from .layouts import ClassRow, without_other_decoders
from .openmmlab import BEIT_BLOCKS, BLOCKS, EMBEDDINGS, PART_ROWS, OpenMMLab, backbone_rows, gated
from .transform import QueryValueBias

T = TypeVar("T")
NORMS = (("ln1.*", "norm.*"), ("ln2.*", "fc_norm.*"))
# MAE's decoder (models/necks/mae_neck.py), the same in mmselfsup.
MAE_NECK = (
    ("neck.mask_token", "decoders.0.mask_token"),
    ("neck.decoder_pos_embed", "decoders.0.pos_embed"),
    ("neck.decoder_embed.*", "decoders.0.embed.*"),
    *((f"neck.decoder_{theirs.replace('layers.#', 'blocks.#', 1)}", f"decoders.0.{ours}") for theirs, ours in BLOCKS),
    ("neck.ln1.*", "decoders.0.norm.*"),
    ("neck.decoder_pred.*", "decoders.0.pred.*"),
)
FC_NORM, SECOND_NORM = "backbone.fc_norm.", "second_norm."


class MMPretrainViT(OpenMMLab):
    """mmpretrain/models/backbones/vision_transformer.py, and mmselfsup's, whose names are the same. `ln1` is the final norm, `ln2` that
    of pooled patches. mmpretrain's default with out_type 'avg_featmap' has both, one after the other: `ln2` is then no fc_norm."""

    name = "mmpretrain_vit"
    group = package = "mmpretrain"
    signature = ("*layers.*.ln1.weight", "*layers.*.attn.qkv.bias", "*patch_embed.projection.weight")
    foreign = (
        *OpenMMLab.foreign,
        "*relative_position*",
        "*.q_bias",
        "*.attn.attn.*",
        "*layers.*.gamma_[12]",
        "*.rel_pos_[hw]",
        "*pre_norm.*",
    )
    renames = (
        *backbone_rows(
            (
                *EMBEDDINGS,
                *BLOCKS,
                ("layers.#.attn.gamma1.weight", "blocks.#.ls1.gamma"),
                ("layers.#.ffn.gamma2.weight", "blocks.#.ls2.gamma"),
                ("layers.#.ffn.w12.*", "blocks.#.mlp.fc1.*"),
                ("layers.#.ffn.w3.*", "blocks.#.mlp.fc2.*"),
                *NORMS,
            )
        ),
        *MAE_NECK,
        *PART_ROWS,
    )
    steps = (ClassRow(),)
    may_leave = ((f"{SECOND_NORM}*", "a second norm, of the mean of normed tokens"), *OpenMMLab.may_leave)
    facts = dict(pos_resample="bicubic")

    def read(self, state: State) -> tuple[State, dict[str, str], list[str]]:
        """As in Family."""
        own, origin, notes = super().read(state)
        if "backbone.norm.weight" in own:
            own, origin = renamed(own, FC_NORM, SECOND_NORM), renamed(origin, FC_NORM, SECOND_NORM)
        return own, origin, notes

    def write(self, own: State) -> tuple[State, list[str]]:
        """As in Family; another decoder than MAE's has no place."""
        own, other = without_other_decoders(own)
        state, homeless = super().write(renamed(own, SECOND_NORM, FC_NORM))
        return gated(state, own), [*homeless, *other]


class MMPretrainBEiT(OpenMMLab):
    """mmpretrain/models/backbones/beit.py: BEiT, one table of relative biases or one in each block; `ln1` is the final norm (pre-trained),
    `ln2` that of pooled patches (fine-tuned). Other files of these names, without either, are mmseg's."""

    name = "mmpretrain_beit"
    group = package = "mmpretrain"
    signature: tuple[str, ...] = ("*layers.*.attn.q_bias", "*layers.*.ln1.weight", "*relative_position_bias_table")
    renames = (
        *backbone_rows((*EMBEDDINGS, *BEIT_BLOCKS, ("rel_pos_bias.*", "rel_pos_bias.*"), *NORMS)),
        *PART_ROWS,
    )
    steps = (TableIndex(), QueryValueBias())
    facts = dict(k_bias=False, pos_resample="bicubic", table_resample="geometric")
    mean = std = HALF

    def recognises(self, state: State, container: str = "") -> bool:
        """As in Family; with a norm at its end."""
        return super().recognises(state, container) and has_end(state)


class MMPretrainBEiTv2(MMPretrainBEiT):
    """BEiT v2 as mmpretrain pre-trains it: blocks for the class token and the norm of the last block's tokens are its neck's
    (models/necks/beitv2_neck.py)."""

    name = "mmpretrain_beit2"
    signature = (*MMPretrainBEiT.signature, "neck.patch_aggregation.*", "neck.norm.weight")
    renames = (("neck.norm.*", "backbone.norm.*"), *MMPretrainBEiT.renames)
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    group, writable = "", False

    def recognises(self, state: State, container: str = "") -> bool:
        """As in OpenMMLab; the backbone itself has no norm at its end."""
        return super(MMPretrainBEiT, self).recognises(state, container) and not has_end(state)


def has_end(state: State) -> bool:
    """Whether a norm stands after the last block."""
    names = {f"{prefix}ln{number}.weight" for prefix in ("backbone.", "") for number in (1, 2)}
    return bool(names & state.keys())


def renamed(named: dict[str, T], start: str, new: str) -> dict[str, T]:
    """With another beginning of the names that begin so."""
    return {f"{new}{n.removeprefix(start)}" if n.startswith(start) else n: value for n, value in named.items()}
