import math

import pytest
import torch

from mimeval.errors import UserError
from mimeval.pretrain.losses import MaskedCrossEntropy, MaskedL1, MaskedMSE


@pytest.fixture
def batch():
    torch.manual_seed(0)
    prediction = torch.randn(2, 3, 4, 12, requires_grad=True)
    mask = (torch.rand(2, 3, 4) < 0.6).float()
    return prediction, torch.randn(2, 4, 12), mask


def test_l1_is_the_official_formula_on_pixels(batch):
    """SimMIM: errors of all channels over the pixels hidden, plus 1e-5, over the channels (models/simmim.py)."""
    prediction, target, mask = batch
    # 12 values of a patch are 2 x 2 pixels of 3 channels.
    error = (prediction - target[:, None]).abs().reshape(2, 3, 4, 4, 3)
    pixels = mask[..., None].expand(-1, -1, -1, 4)
    expected = (error * pixels[..., None]).sum() / (pixels.sum() + 1e-5) / 3
    torch.testing.assert_close(MaskedL1()(prediction, target, mask), expected)
    assert MaskedL1()(prediction, target, torch.zeros_like(mask)) == 0


@pytest.mark.parametrize("loss", [MaskedMSE(), MaskedL1()])
def test_visible_patches_cost_nothing(batch, loss):
    prediction, target, mask = batch
    (gradient,) = torch.autograd.grad(loss(prediction, target, mask), prediction)
    assert (gradient[mask == 0] == 0).all() and (gradient[mask == 1] != 0).all()


@pytest.mark.parametrize("loss", [MaskedMSE(), MaskedL1()])
def test_a_cell_counts_by_the_share_that_is_hidden(batch, loss):
    prediction, target, mask = batch
    twice = torch.cat([prediction, prediction], dim=1), torch.cat([mask, 0.5 * mask], dim=1)
    torch.testing.assert_close(loss(twice[0], target, twice[1]), loss(prediction, target, mask))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_by_its_definition(batch, smoothing):
    prediction, _, mask = batch
    ids = torch.tensor([[0, 5, 11, 3], [2, 2, 7, 9]])
    log_p = prediction.log_softmax(-1)
    picked = log_p.gather(-1, ids[:, None, :, None].expand(-1, 3, -1, 1)).squeeze(-1)
    each = -(1 - smoothing) * picked - smoothing * log_p.mean(-1)
    expected = (each * mask).sum() / mask.sum()
    torch.testing.assert_close(MaskedCrossEntropy(smoothing)(prediction, ids, mask), expected)


def test_equal_logits_cost_the_logarithm_of_the_classes():
    loss = MaskedCrossEntropy()(torch.full((1, 1, 4, 50), 3.0), torch.arange(4)[None], torch.ones(1, 1, 4))
    assert loss.item() == pytest.approx(math.log(50), rel=1e-6)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_an_impossible_smoothing_is_refused(smoothing):
    with pytest.raises(UserError, match="label_smoothing must be at least 0 and below 1"):
        MaskedCrossEntropy(smoothing)


@pytest.mark.parametrize("loss", [MaskedMSE(), MaskedL1()])
def test_half_precision_predictions_are_compared_in_float32(batch, loss):
    prediction, target, mask = batch
    half = prediction.bfloat16()
    assert torch.equal(loss(half, target, mask), loss(half.float(), target, mask))
