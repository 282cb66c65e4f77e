"""Checkpoints of the official LocalMIM, pre-trained, ViT and Swin (methods.md 2.9): taps, each with a norm and a decoder."""

from collections.abc import Mapping

from .base import BUFFER, DOWNSTREAM, FRESH_FC_NORM, PRETRAINING, Absence, Family
from .mae import ENDS
from .simmim import SWIN
from .transform import MergingOrder, Step

PARTS = (
    ("decoder.*", "decoders.*"),
    ("hog_enc.#.conv.bias", "targets.#.gradient_bias"),
)
LEAVE = (
    ("decoder.*", PRETRAINING),
    ("hog_enc.*", "the gradients of HOG, pre-training only"),
    *((f"backbone.{pattern}", reason) for pattern, reason in ENDS),
)


class LocalMIM(Family):
    """ViT: `model` in a `.pth`, bare names. There is no `norm`: official fine-tuning starts a new fc_norm, and what reads the
    last block's tokens takes the norm of the last tap, which is always the last block."""

    name = "localmim"
    containers = ("model", "state_dict", "")
    signature = ("blocks.*.attn.qkv.weight", "norm.[0-9].weight", "decoder.[0-9].embed.weight")
    renames = (
        ("cls_token", "backbone.cls_token"),
        ("pos_embed", "backbone.pos_embed"),
        ("patch_embed.proj.*", "backbone.patch_embed.proj.*"),
        ("blocks.*", "backbone.blocks.*"),
        ("norm.#.*", "backbone.tap_norms.#.*"),
        *PARTS,
    )
    may_lack = (Absence("fc_norm.*", FRESH_FC_NORM.reason, given="tap_norms.0.weight"), *DOWNSTREAM)
    may_leave = (("norm.[0-9].*", "norms of taps that this backbone does not have"), *LEAVE)


class LocalMIMSwin(Family):
    """Swin: the encoder under `encoder.`. Pre-training merges patches in an order of its own, and official fine-tuning loads
    them as they are, scrambled: here they are put into Swin's order, but for the switch `merging=as_stored`."""

    name = "localmim_swin"
    containers = ("model", "state_dict", "")
    signature = ("encoder.layers.*.blocks.*.attn.qkv.weight", "encoder.norm.[0-9].weight")
    renames = (
        ("encoder.patch_embed.*", "backbone.patch_embed.*"),
        *SWIN,
        ("encoder.norm.#.*", "encoding.tap_norms.#.*"),
        *PARTS,
    )
    steps: tuple[Step, ...] = (MergingOrder(),)
    may_leave = (
        ("encoding.tap_norms.*", "norms of taps, pre-training only"),
        ("*relative_position_index", BUFFER),
        ("*attn_mask", BUFFER),
        *LEAVE,
    )
    facts = dict(norm_eps=1e-6)
    switches = {"merging": ("swin", "as_stored")}

    def switched(self, switches: Mapping[str, str]) -> Family:
        """As in Family; official fine-tuning does not permute."""
        return LocalMIMSwinAsStored() if switches.get("merging") == "as_stored" else self


class LocalMIMSwinAsStored(LocalMIMSwin):
    """As LocalMIMSwin, scrambled as in official fine-tuning."""

    steps = ()
