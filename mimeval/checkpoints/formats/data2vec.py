"""Checkpoints of facebookresearch/data2vec_vision, pre-trained and fine-tuned: BEiT's network, trained to predict features."""

from .architecture import State
from .base import IMAGENET_MEAN, IMAGENET_STD
from .beit import BEiT, regresses_features


class Data2Vec(BEiT):
    """`model`, or `module` of fine-tuned files (DeepSpeed); names as BEiT's. `lm_head` is square, and the one table of relative biases
    stays shared in fine-tuning (beit/run_cyclical.py, modeling_cyclical.py, run_class_finetuning.py)."""

    name = "data2vec"
    mean, std = IMAGENET_MEAN, IMAGENET_STD

    def recognises(self, state: State, container: str = "") -> bool:
        """As in Family."""
        return super(BEiT, self).recognises(state, container) and regresses_features(state)
