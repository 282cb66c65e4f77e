import pytest
import torch
import torch.nn.functional as F

from mimeval.pretrain.decoders import LinearDecoder, MAEDecoder
from mimeval.pretrain.masking import ParallelMasking, RandomMasking
from mimeval.pretrain.targets.pixel import patchify

KEYS = torch.tensor([[0, 0, index] for index in range(2)])


def test_a_linear_layer_is_simmims_convolution_and_pixel_shuffle():
    torch.manual_seed(0)
    decoder = LinearDecoder(6, (2, 3), 4 * 4 * 3)
    latent = torch.randn(2, 1 + 6, 6)
    # Official rows are (channel, row, column).
    rows = decoder.pred.weight.unflatten(0, (4, 4, 3)).permute(2, 0, 1, 3).flatten(0, 2)
    bias = decoder.pred.bias.unflatten(0, (4, 4, 3)).permute(2, 0, 1).flatten()
    maps = latent[:, 1:].mT.unflatten(2, (2, 3))
    images = F.pixel_shuffle(F.conv2d(maps, rows[..., None, None], bias), 4)
    masks = RandomMasking(0.5)(KEYS, (2, 3))
    torch.testing.assert_close(decoder(latent, masks)[:, 0], patchify(images, 4))


def test_parts_come_back_in_order():
    decoder = LinearDecoder(6, (4, 4), 5)
    latent = torch.randn(8, 16, 6)
    masks = ParallelMasking(4)(KEYS, (4, 4))
    predictions = decoder(latent, masks)
    assert predictions.shape == (2, 4, 16, 5)
    torch.testing.assert_close(predictions[1, 2], decoder.pred(latent[6]))


@pytest.mark.parametrize("std", [None, 0.02])
def test_start_of_the_weights(std):
    torch.manual_seed(0)
    decoder = LinearDecoder(768, (14, 14), 108, init_std=std)
    if std:
        assert decoder.pred.weight.std().item() == pytest.approx(std, rel=0.02) and (decoder.pred.bias == 0).all()
    else:
        assert decoder.pred.weight.abs().max() <= 768**-0.5 and (decoder.pred.bias != 0).all()


def test_masks_of_larger_cells_hide_all_their_patches():
    torch.manual_seed(0)
    decoder = MAEDecoder(8, (4, 4), 5, embed_dim=8, depth=1, num_heads=2).eval()
    coarse = RandomMasking(0.5, unit=2)(KEYS, (2, 2))
    fine = coarse.on((4, 4))
    latent = torch.randn(2, 1 + 8, 8)
    assert decoder.grid == (4, 4)
    assert torch.equal(decoder(latent, coarse), decoder(latent, fine))
