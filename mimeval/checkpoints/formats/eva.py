"""Checkpoints of baaivision/EVA's EVA-02: known, and refused by name."""

from collections.abc import Mapping

from mimeval.errors import UserError

from .architecture import State
from .base import Family


class EVA02(Family):
    """EVA-02 (EVA-02/asuka): attention rotates queries and keys by their positions, which no backbone here does; the base and large
    ones also have a norm within the MLP. timm's names have no buffers of the rotation, but q, k and v and a gated MLP apart."""

    name = "eva02"
    containers = ("model", "module", "state_dict", "")
    signature = ("*blocks.*.attn.*", "*pos_embed")
    foreign = ("*gamma*", "*relative_position*")
    renames = ()

    def recognises(self, state: State, container: str = "") -> bool:
        """As in Family; buffers of the rotation, or a gated MLP beside queries and values that alone have biases (timm)."""
        if not super().recognises(state, container):
            return False
        if any(name.endswith("blocks.0.attn.rope.freqs_cos") for name in state):
            return True
        inner, outer = state.get("blocks.0.mlp.fc1.weight"), state.get("blocks.0.mlp.fc2.weight")
        packed = inner is not None and outer is not None and len(inner) == 2 * outer.shape[1]
        return "blocks.0.mlp.fc1_g.weight" in state or ("blocks.0.attn.q_bias" in state and packed)

    def read(self, state: State, switches: Mapping[str, str]) -> tuple[State, dict[str, str], list[str]]:
        """Raises UserError."""
        raise UserError(
            "EVA-02 encodes positions by rotating queries and keys, which no backbone of this suite does, so that its features cannot "
            "be reproduced; take a checkpoint of another family, or evaluate it with timm."
        )
