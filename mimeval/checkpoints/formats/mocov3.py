"""Checkpoints of facebookresearch/moco-v3, ViT: the training checkpoint, its conversion for DeiT, and linear probes."""

from collections.abc import Mapping

from .architecture import State
from .base import PRETRAINING, Family
from .dino import PLAIN
from .mae import ENDS
from .plain import owner


class MoCoV3(Family):
    """`state_dict` with `base_encoder.`, which is evaluated, `momentum_encoder.` (switch encoder=momentum) and `predictor.`; `model`
    with bare names (convert_to_deit.py); `state_dict` with bare names and a classifier (main_lincls.py).

    Positions are the sin-cos table, rows first, and computed anew at other sizes. ViT-S has 12 heads (vits.py).
    """

    name = "mocov3"
    containers = ("state_dict", "model", "")
    signature = ("*blocks.*.attn.qkv.weight", "*pos_embed")
    renames = tuple((f"{prefix}{name}", f"backbone.{name}") for prefix in ("base_encoder.", "") for name in PLAIN)
    may_leave = (
        ("base_encoder.head.*", f"the projection head, {PRETRAINING}"),
        ("momentum_encoder.*", f"the momentum encoder, {PRETRAINING}; --switch encoder=momentum takes it"),
        ("predictor.*", PRETRAINING),
        ("head.*", "a classifier"),
        *((f"backbone.{pattern}", reason) for pattern, reason in ENDS),
    )
    facts = dict(pos_resample="sincos_rows")
    heads_by_width = {384: 12}
    switches: Mapping[str, tuple[str, ...]] = {"encoder": ("base", "momentum")}

    def recognises(self, state: State, container: str = "") -> bool:
        """As in Family; two encoders, or a bare one with a table of that kind."""
        if not super().recognises(state, container):
            return False
        return "base_encoder.cls_token" in state or ("cls_token" in state and owner(state, container) == self.name)

    def switched(self, switches: Mapping[str, str]) -> Family:
        """As in Family."""
        return MoCoV3Momentum() if switches.get("encoder") == "momentum" else self


class MoCoV3Momentum(MoCoV3):
    """The momentum encoder of the training checkpoint."""

    renames = tuple((f"momentum_encoder.{name}", f"backbone.{name}") for name in PLAIN)
    may_leave = (
        ("momentum_encoder.head.*", f"the projection head, {PRETRAINING}"),
        ("base_encoder.*", "the base encoder"),
        ("predictor.*", PRETRAINING),
        *((f"backbone.{pattern}", reason) for pattern, reason in ENDS),
    )
