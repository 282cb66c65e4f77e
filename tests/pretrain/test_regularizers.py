from itertools import combinations

import pytest
import torch

from mimeval.errors import UserError
from mimeval.pretrain.masking import ParallelMasking
from mimeval.pretrain.regularizers import SelfConsistency


@pytest.fixture
def batch():
    torch.manual_seed(0)
    masks = ParallelMasking(4)(torch.tensor([[0, 0, 0], [0, 0, 1]]), (4, 4))
    return torch.randn(2, 4, 16, 5, dtype=torch.float64, requires_grad=True), masks.mask.double()


def published_form(prediction, mask, normaliser):
    """|sg(a) - b| + |a - sg(b)| as written in the description of the loss, pair by pair."""
    losses = []
    for i, j in combinations(range(prediction.shape[1]), 2):
        a, b, overlap = prediction[:, i], prediction[:, j], mask[:, i] * mask[:, j]
        distance = ((a.detach() - b).abs() + (a - b.detach()).abs()).mean(-1)
        losses.append((distance * overlap).sum() / (overlap.sum() if normaliser == "overlap" else overlap.numel()))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("normaliser", ["overlap", "all"])
def test_equals_the_stop_gradient_form_in_value_and_gradient(batch, normaliser):
    prediction, mask = batch
    ours = SelfConsistency(normaliser=normaliser)(prediction, mask)
    theirs = published_form(prediction, mask, normaliser)
    # Distances are accumulated in float32.
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-6, atol=1e-6)
    (ours_gradient,) = torch.autograd.grad(ours, prediction)
    (theirs_gradient,) = torch.autograd.grad(theirs, prediction)
    torch.testing.assert_close(ours_gradient, theirs_gradient, rtol=1e-6, atol=1e-9)


def test_gradient_is_that_of_the_plain_distance(batch):
    prediction, mask = batch
    (gradient,) = torch.autograd.grad(SelfConsistency()(prediction, mask), prediction)
    plain = torch.stack(
        [
            ((prediction[:, i] - prediction[:, j]).abs().mean(-1) * mask[:, i] * mask[:, j]).sum()
            / (mask[:, i] * mask[:, j]).sum()
            for i, j in combinations(range(4), 2)
        ]
    ).mean()
    (expected,) = torch.autograd.grad(plain, prediction)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-9)


def test_agreement_costs_nothing(batch):
    prediction, mask = batch
    assert SelfConsistency()(prediction[:, :1].expand(-1, 4, -1, -1), mask) == 0


def test_only_patches_hidden_in_both_parts_count(batch):
    prediction, mask = batch
    moved = prediction.detach().clone()
    moved[0, 1, mask[0, 1] == 0] += 10  # what part 1 sees of image 0 is hidden from no loss but its own
    before, after = SelfConsistency()(prediction, mask), SelfConsistency()(moved, mask)
    assert before.item() == after.item()


def test_normalisers_differ_by_the_share_of_overlap(batch):
    prediction, mask = batch
    ratio = SelfConsistency(normaliser="all")(prediction, mask) / SelfConsistency()(prediction, mask)
    assert ratio.item() == pytest.approx((4 - 2) / 4)


def test_weight_scales(batch):
    prediction, mask = batch
    assert SelfConsistency(weight=0.5)(prediction, mask).item() == pytest.approx(
        SelfConsistency()(prediction, mask).item() / 2
    )


def test_two_parts_have_nothing_in_common():
    with pytest.raises(UserError, match="at least 3 parts"):
        SelfConsistency()(torch.randn(1, 2, 4, 3), torch.tensor([[[1.0, 1, 0, 0], [0, 0, 1, 1]]]))


def test_an_unknown_normaliser_is_refused():
    with pytest.raises(UserError, match="'overlap' or 'all'"):
        SelfConsistency(normaliser="mean")


def test_of_logits_it_is_the_distance_of_probabilities(batch):
    prediction, mask = batch
    p = prediction.float().softmax(-1)
    pairs = [
        (0.5 * (p[:, i] - p[:, j]).abs().sum(-1) * mask[:, i] * mask[:, j]).sum() / (mask[:, i] * mask[:, j]).sum()
        for i, j in combinations(range(4), 2)
    ]
    ours = SelfConsistency(of="probabilities")(prediction, mask)
    torch.testing.assert_close(ours.double(), 2 * torch.stack(pairs).mean().double())
    shifted = prediction + torch.randn(2, 4, 16, 1, dtype=torch.float64)
    torch.testing.assert_close(SelfConsistency(of="probabilities")(shifted, mask), ours)


@pytest.mark.parametrize(("of", "discrete"), [("values", True), ("probabilities", False)])
def test_classes_are_compared_by_probabilities_and_values_by_themselves(of, discrete):
    with pytest.raises(UserError, match=f"of is '{of}'.*set of='(?!{of})"):
        SelfConsistency(of=of).check(4, discrete)
    SelfConsistency(of=of).check(4, not discrete)


def test_an_unknown_space_is_refused():
    with pytest.raises(UserError, match="'values' or 'probabilities', not 'logits'"):
        SelfConsistency(of="logits")
