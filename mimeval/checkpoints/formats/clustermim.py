"""Checkpoints of PKU-ML/ClusterMIM: MAE's, with the frozen tokenizer network beside them (methods.md 4.7)."""

from .architecture import State
from .mae import MAE


class ClusterMIM(MAE):
    """`model` in a `.pth`. `tokenizer.*` is another ViT, with names like the encoder's behind its prefix; it never enters the
    backbone. A file without it is MAE's in every name."""

    name = "clustermim"
    signature = (*MAE.signature, "tokenizer.*")
    may_leave = (("tokenizer.*", "the frozen tokenizer, pre-training only"), *MAE.may_leave)
    writable = False

    def recognises(self, state: State, container: str = "") -> bool:
        """As in Family; whatever network the tokenizer is."""
        rest = {name: tensor for name, tensor in state.items() if not name.startswith("tokenizer.")}
        return len(rest) < len(state) and MAE().recognises(rest, container)
