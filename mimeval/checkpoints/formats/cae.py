"""Checkpoints of lxtGH/CAE (context autoencoder), pre-trained and fine-tuned: BEiT's blocks with fixed positions."""

from .architecture import State
from .base import DOWNSTREAM, PRETRAINING, Family
from .mae import ENDS
from .transform import QueryValueBias

NAMES = ("cls_token", "pos_embed", "patch_embed.proj.*", "blocks.*", "norm.*", "fc_norm.*")


class CAE(Family):
    """`model` in a `.pth`. Pre-trained: `encoder.`, beside it `pretext_neck.`, `mask_token` and at times a momentum copy, `teacher.`;
    fine-tuned: bare names. models/modeling_cae.py, models/modeling_finetune.py, tools/run_class_finetuning.py.

    Positions are sin-cos, rows first, computed anew at other sizes. Its fine-tuning takes the trained norm for fc_norm.
    """

    name = "cae"
    containers = ("model", "module", "state_dict", "")
    signature = ("*blocks.*.attn.q_bias", "*blocks.*.gamma_1", "*pos_embed")
    foreign = ("*relative_position*", "*rope*", "backbone.*", "encoder.mask_token", "cls_pt_layers.*")
    renames = (
        ("encoder.blocks.#.gamma_1", "backbone.blocks.#.ls1.gamma"),
        ("encoder.blocks.#.gamma_2", "backbone.blocks.#.ls2.gamma"),
        *((f"encoder.{name}", f"backbone.{name}") for name in NAMES),
        ("blocks.#.gamma_1", "backbone.blocks.#.ls1.gamma"),
        ("blocks.#.gamma_2", "backbone.blocks.#.ls2.gamma"),
        *((name, f"backbone.{name}") for name in NAMES),
        ("mask_token", "pretext_neck.mask_token"),
        ("pretext_neck.*", "pretext_neck.*"),
        ("encoder_to_decoder*", "encoder_to_decoder*"),
        ("head.*", "head.fc.*"),
    )
    steps = (QueryValueBias(),)
    may_lack = DOWNSTREAM
    may_leave = (
        ("mask_token", PRETRAINING),
        ("pretext_neck.*", PRETRAINING),
        ("encoder_to_decoder*", PRETRAINING),
        ("teacher.*", f"a momentum copy of the encoder, {PRETRAINING}"),
        ("head.*", "a classifier"),
        *((f"backbone.{pattern}", reason) for pattern, reason in ENDS),
    )
    facts = dict(k_bias=False, pos_resample="sincos_rows", norm_is_fc_norm=True)
    writable = True

    def write(self, own: State) -> tuple[State, list[str]]:
        """As in Family; fine-tuned, it has bare names."""
        state, homeless = super().write(own)
        if "backbone.norm.weight" not in own:
            state = {name.removeprefix("encoder."): tensor for name, tensor in state.items()}
        return state, homeless
