"""LocalMIM's decoders: grids of each scale, the head's layers, refusals, and a whole model of levels that learns."""

import pytest
import torch

from mimeval.errors import UserError
from mimeval.pretrain.local_decoders import LocalMIMDecoder, RescalingHead
from mimeval.pretrain.masking import ParallelMasking
from tests.parity.test_localmim import build

TINY = dict(embed_dim=8, num_heads=2)


@pytest.mark.parametrize("scale, side", [(4, 16), (2, 8), (1, 4), (0.5, 2)])
def test_grid_and_shape_of_each_scale(scale, side):
    decoder = LocalMIMDecoder(encoder_dim=6, grid=(4, 6), out_dim=5, scale=scale, **TINY)
    assert decoder.grid == (side, side * 6 // 4)
    masks = ParallelMasking(3)(torch.tensor([[0, 0, 0], [0, 0, 1]]), (4, 6))
    prediction = decoder(torch.randn(6, 9, 6), masks)
    assert prediction.shape == (2, 3, decoder.grid[0] * decoder.grid[1], 5)


@pytest.mark.parametrize("scale", [4, 2, 1])
def test_a_patch_is_rescaled_where_it_lies(scale):
    """Cells of a patch depend on this patch alone, so changing patch (1, 2) changes its block of cells and no other."""
    head = RescalingHead(8, (3, 4), 5, scale)
    tokens = torch.randn(1, 12, 8)
    moved = tokens.clone()
    moved[0, 1 * 4 + 2] += 1
    changed = (head(tokens) != head(moved)).any(-1).view(3 * scale, 4 * scale)
    expected = torch.zeros_like(changed)
    expected[scale : 2 * scale, 2 * scale : 3 * scale] = True
    assert torch.equal(changed, expected)


def test_half_scale_is_the_mean_of_four_patches():
    head = RescalingHead(8, (4, 4), 5, 0.5)
    tokens = torch.randn(1, 16, 8)
    mean = tokens.view(1, 2, 2, 2, 2, 8).mean((2, 4)).view(1, 4, 8)
    conv = head[-1]
    torch.testing.assert_close(head(tokens), mean @ conv.weight.flatten(1).t() + conv.bias)


def test_each_level_has_a_mask_token_of_its_own():
    model = build(dict(embed_dim=8, depth=5, num_heads=2), TINY)
    tokens = [decoder.mask_token for decoder in model.decoders]
    assert len({id(token) for token in tokens}) == 4
    assert not torch.equal(tokens[0], tokens[1])


def test_parallel_masks_and_local_decoders_go_together():
    model = build(dict(embed_dim=8, depth=5, num_heads=2), TINY, masking=dict(type="mimeval.ParallelMasking", parts=4))
    masks = model.masking(torch.tensor([[0, 0, 0]]), (14, 14))
    images = torch.randn(1, 3, 224, 224)
    assert [prediction.shape[:3] for prediction in model.predict(images, masks)] == [
        (1, 4, 3136),
        (1, 4, 784),
        (1, 4, 196),
        (1, 4, 49),
    ]
    model.losses_of(images, masks)["loss_reconstruction"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match="LocalMIMDecoder.scale must be 4, 2, 1 or 0.5, found 3"):
        LocalMIMDecoder(8, (4, 4), 5, scale=3, **TINY)
    with pytest.raises(UserError, match="halves the grid of 7 x 7 patches, which is odd"):
        LocalMIMDecoder(8, (7, 7), 5, scale=0.5, **TINY)
    with pytest.raises(
        UserError, match=r"decoders\.0 \(LocalMIMDecoder\) predicts a grid of 56 x 56 cells, but targets\.0"
    ):
        build(dict(embed_dim=8, depth=5, num_heads=2), TINY, cells=(8, 8, 16, 32))
