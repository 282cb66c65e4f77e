"""Mixup and CutMix on the device, and the loss of mixed labels through mmpretrain's head, against timm's."""

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.structures import DataSample
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.data.mixup import Mixup
from timm.loss import SoftTargetCrossEntropy
from torchvision.transforms.functional import normalize

from mimeval.engine.config import load_config
from mimeval.engine.environment import setup_environment
from mimeval.registry import MODELS

CLASSES = 7
MODES = ["batch", "pair", "elem"]


def batch(seed=0, size=8):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (size, 3, 24, 20), generator=generator, dtype=torch.uint8)
    labels = torch.randint(CLASSES, (size,), generator=generator)
    return {"inputs": images, "data_samples": [DataSample().set_gt_label(int(label)) for label in labels]}, labels


def recipe():
    """Preprocessor and head of MAE's fine-tuning, with few classes."""
    setup_environment()
    model = load_config("transfer/finetune_vitb").model
    model.data_preprocessor.num_classes = CLASSES
    model.head.update(num_classes=CLASSES, in_channels=5, init_cfg=None)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return MODELS.build(model.data_preprocessor), MODELS.build(model.head)


def timms(seed, images, labels, mode="batch"):
    """Official order: normalise, mix with smoothing 0.1."""
    images = normalize(images.float() / 255, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    mixup = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, mode=mode, label_smoothing=0.1, num_classes=CLASSES)
    np.random.seed(seed)
    return mixup(images, labels)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(12))
def test_images_and_targets(seed, mode):
    preprocessor, head = recipe()
    preprocessor.mixup.mode = mode
    data, labels = batch(seed)
    images, targets = timms(seed, data["inputs"], labels, mode)
    np.random.seed(seed)
    mixed = preprocessor(data, training=True)
    torch.testing.assert_close(mixed["inputs"], images, rtol=0, atol=2e-6)
    scores = torch.stack([sample.gt_score for sample in mixed["data_samples"]])
    head.loss_module.num_classes = CLASSES  # else taken from the first logits
    smoothed = head.loss_module.smooth_label(scores)
    torch.testing.assert_close(smoothed, targets, rtol=0, atol=1e-7)


@pytest.mark.parametrize("seed", range(6))
def test_loss_and_gradients(seed):
    preprocessor, head = recipe()
    torch.manual_seed(seed)
    head.init_weights()
    torch.nn.init.normal_(head.fc.weight)
    features = torch.randn(8, 5, requires_grad=True)
    data, labels = batch(seed)

    _, targets = timms(seed, data["inputs"], labels)
    official = SoftTargetCrossEntropy()(head.fc(features), targets)
    expected = torch.autograd.grad(official, [features, head.fc.weight, head.fc.bias])

    np.random.seed(seed)
    samples = preprocessor(data, training=True)["data_samples"]
    loss = head.loss((features,), samples)["loss"]
    found = torch.autograd.grad(loss, [features, head.fc.weight, head.fc.bias])
    torch.testing.assert_close(loss, official, rtol=1e-6, atol=0)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_one_of_mixup_and_cutmix_for_every_batch():
    preprocessor, _ = recipe()
    np.random.seed(0)
    kinds, lambdas = [], {"mixup": [], "cutmix": []}
    for _ in range(2500):
        # Flat images show what was done: mixup changes all of an image, cutmix a rectangle of it.
        inputs = torch.stack([torch.full((3, 16, 16), level, dtype=torch.uint8) for level in (0, 255)])
        data = {"inputs": inputs, "data_samples": [DataSample().set_gt_label(k) for k in (0, 1)]}
        mixed = preprocessor(data, training=True)
        image = mixed["inputs"][0, 0] * preprocessor.std[0] + preprocessor.mean[0]
        share = 1 - image.mean().item() / 255
        kinds.append("mixup" if image.max() - image.min() < 1 else "cutmix")
        score = mixed["data_samples"][0].gt_score
        # A label's weight is the share of its image, that of the clipped rectangle included.
        assert score[0].item() == pytest.approx(share, abs=1e-3)
        assert score.sum().item() == pytest.approx(1, abs=1e-6)
        lambdas[kinds[-1]].append(share)
    # A rectangle of no pixel leaves flat images: CutMix with lambda near 1 counts as mixup here, 0.4 % of 16 x 16 images.
    assert kinds.count("cutmix") / len(kinds) == pytest.approx(0.5, abs=0.04)
    # Beta(0.8, 0.8) has variance 1 / (4 * 2.6), and CutMix's uniform lambda shrinks where its rectangle is clipped.
    assert np.mean(lambdas["mixup"]) == pytest.approx(0.5, abs=0.03)
    assert np.var(lambdas["mixup"]) == pytest.approx(1 / (4 * 2.6), abs=0.01)
    assert 0.55 < np.mean(lambdas["cutmix"]) < 0.75


def test_not_in_evaluation_and_a_pure_function_of_numpys_generator():
    preprocessor, _ = recipe()
    plain = preprocessor(batch()[0], training=False)
    assert all("gt_score" not in sample for sample in plain["data_samples"])
    mixed = []
    for seed in (3, 3, 4):
        np.random.seed(seed)
        mixed.append(preprocessor(batch()[0], training=True)["inputs"])
    assert torch.equal(mixed[0], mixed[1]) and not torch.equal(mixed[0], mixed[2])
    assert not torch.equal(mixed[0], plain["inputs"])
