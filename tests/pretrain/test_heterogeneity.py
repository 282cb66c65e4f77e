import math

import pytest
import torch

from mimeval.pretrain.heterogeneity import (
    HeterogeneityWatches,
    Sequences,
    heterogeneity,
    similarity_entropy,
)
from mimeval.pretrain.masking import ParallelMasking
from mimeval.pretrain.masks import Masks
from tests.parity.test_mae_pretrain import build


def sequences(*rows: str, prefix: int = 0) -> Sequences:
    """Rows of tokens, 'v' visible and 'm' masked."""
    mask = torch.tensor([[letter == "m" for letter in row] for row in rows]).float()
    return Sequences(Masks.from_mask(mask[:, None], (1, mask.shape[1])), prefix)


def test_a_mask_token_that_resembles_all_alike_has_entropy_1():
    tokens = torch.eye(4)[None] * 3
    assert heterogeneity(tokens, sequences("vvvm"), temperature=0.01).item() == pytest.approx(1, abs=1e-6)


def test_a_mask_token_that_resembles_one_alone_has_entropy_0():
    tokens = torch.eye(3)[[0, 1, 2, 1]][None]
    assert heterogeneity(tokens, sequences("vvvm"), temperature=0.01).item() == pytest.approx(0, abs=1e-6)


def test_by_hand():
    """Cosines of the mask tokens with the two visible ones: (1, 0) and (0.8, 0.6), whatever the lengths."""
    tokens = torch.tensor([[[2.0, 0.0], [0.0, 3.0], [5.0, 0.0], [4.0, 3.0]]])

    def entropy(difference):
        p = 1 / (1 + math.exp(-difference))
        return -(p * math.log(p) + (1 - p) * math.log(1 - p)) / math.log(2)

    rows = similarity_entropy(tokens, sequences("vvmm"), temperature=0.5)
    assert rows[0, 2:].tolist() == pytest.approx([entropy(2), entropy(0.4)], rel=1e-5)
    mean = heterogeneity(tokens, sequences("vvmm"), temperature=0.5)
    assert mean.tolist() == pytest.approx([(entropy(2) + entropy(0.4)) / 2], rel=1e-5)


def test_padding_takes_no_part_and_has_finite_gradients():
    torch.manual_seed(0)
    tokens = torch.randn(2, 6, 5)
    together = sequences("vmvmvm", "vmmmmv")
    assert together.valid is not None
    alone = torch.cat(
        [heterogeneity(tokens[k : k + 1], sequences(row), 0.1) for k, row in ((0, "vmvmvm"), (1, "vmmmmv"))]
    )
    torch.testing.assert_close(heterogeneity(tokens, together, 0.1), alone)
    tokens.requires_grad_()
    heterogeneity(tokens, together, 0.1).sum().backward()
    assert tokens.grad.isfinite().all() and tokens.grad.abs().max() > 0


def test_half_precision_does_not_reach_it():
    torch.manual_seed(0)
    tokens = torch.randn(1, 6, 5)
    with torch.autocast("cpu", torch.bfloat16):
        half = similarity_entropy(tokens, sequences("vvvmmm"), 0.1)
    assert torch.equal(half, similarity_entropy(tokens, sequences("vvvmmm"), 0.1)) and half.dtype == torch.float32


def test_means_over_visible_and_hidden():
    both = sequences("vmvm", "mmmv")
    values = torch.tensor([[1.0, 10, 3, 20], [1, 2, 6, 9]])
    assert both.over_hidden(values).tolist() == [15, 3]
    assert both.over_visible(torch.tensor([[1.0, 3], [5, 7]])).tolist() == [2, 5]
    assert torch.equal(
        Sequences(Masks.from_mask(torch.zeros(1, 1, 4), (2, 2)), 1).patches(torch.arange(5)[None]),
        torch.arange(1, 5)[None],
    )


def test_watching_a_model_changes_nothing_and_sees_every_depth():
    torch.manual_seed(0)
    model = build(masking=dict(type="mimeval.ParallelMasking", parts=4)).eval()
    images, masks = torch.randn(2, 3, 32, 32), ParallelMasking(4)(torch.tensor([[0, 0, 0], [0, 0, 1]]), (4, 4))
    watches = HeterogeneityWatches(0.1)
    assert torch.equal(model.predict(images, masks, watches)[0], model.predict(images, masks)[0])
    (curve,) = watches.curves
    assert len(curve) == 3 and all(e.shape == (8,) and ((e > 0) & (e <= 1)).all() for e in curve)
    # Depth 0 by hand: the decoder's own input.
    decoder, seen = model.decoders[0], []
    handle = decoder.blocks[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model.predict(images, masks)
    handle.remove()
    z = torch.nn.functional.normalize(seen[0][:, 1:].double(), dim=-1)
    for n, hidden in enumerate(masks.mask.flatten(0, 1).bool()):
        rows = torch.softmax(z[n, hidden] @ z[n, ~hidden].T / 0.1, -1)
        expected = (-(rows * rows.log()).sum(-1) / math.log(4)).mean()
        assert curve[0][n].item() == pytest.approx(expected.item(), rel=1e-5)
