"""The official MAE fine-tuning model (models_vit): features, logits, losses and every gradient, for both poolings."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mimeval.backbones import VisionTransformer
from tests.golden import golden
from tests.parity.record import LARGEST, close

OUT_TYPE = {"pool": "mean", "cls": "cls"}


@pytest.fixture(scope="module")
def arrays():
    return {key: torch.from_numpy(value) for key, value in golden("mae_finetune")[0].items()}


def classifier(arrays, case, **settings):
    """Our backbone and a linear head with the official weights, loaded strictly under the official names."""
    state = {key.removeprefix(f"{case}/state/"): value for key, value in arrays.items() if f"{case}/state/" in key}
    arch = dict(embed_dim=32, depth=3, num_heads=4)
    model = VisionTransformer(arch, img_size=32, patch_size=8, out_type=OUT_TYPE[case], pos_trainable=True, **settings)
    model.head = nn.Linear(32, 7)
    model.load_state_dict(state, strict=True)
    return model


@pytest.mark.parametrize("case", ["pool", "cls"])
def test_features_logits_and_losses(arrays, case):
    model = classifier(arrays, case)
    (features,) = model(arrays["in/images"])
    logits = model.head(features)
    targets = arrays["in/targets"]
    for name, ours in {
        "features": features,
        "logits": logits,
        "loss": F.cross_entropy(logits, targets),
        "loss_smoothing_0_1": F.cross_entropy(logits, targets, label_smoothing=0.1),
    }.items():
        quantity = name.replace("_0_1", "").replace("_", ", ")
        close("MAE fine-tuning", quantity, ours, arrays[f"{case}/out/{name}"], 1e-5)


@pytest.mark.parametrize("grad_checkpointing", [False, True])
@pytest.mark.parametrize("case", ["pool", "cls"])
def test_every_gradient(arrays, case, grad_checkpointing):
    model = classifier(arrays, case, grad_checkpointing=grad_checkpointing)
    F.cross_entropy(model.head(model(arrays["in/images"])[0]), arrays["in/targets"]).backward()
    expected = {key.removeprefix(f"{case}/grad/") for key in arrays if key.startswith(f"{case}/grad/")}
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == expected
    for name, parameter in model.named_parameters():
        official = arrays[f"{case}/grad/{name}"]
        close("MAE fine-tuning", "every gradient", parameter.grad, official, 1e-5, LARGEST, name)
