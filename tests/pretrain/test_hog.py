"""HOG targets on hand-made pictures, on 8-bit pictures whose bins hang on rounding, and in every layout."""

import math

import pytest
import torch
import torch.nn.functional as F

from mimeval.errors import UserError
from mimeval.pretrain.targets.hog import SOBEL, HOGTarget

MEAN, STD = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])


def picture(size: int = 64) -> torch.Tensor:
    """An 8-bit picture with few values, ImageNet-normalised [1, 3, size, size]: many gradients lie on an edge of bins."""
    pixels = torch.randint(0, 4, (1, 3, size, size), generator=torch.Generator().manual_seed(0)) * 60
    return (pixels - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)


def one_colour_after_the_other(images: torch.Tensor, gradients, nbins: int, cell: int) -> torch.Tensor:
    """HOG as defined: all one-hot maps of one colour, their mean over cells, norm 1 -> [B, 3 * nbins, h, w]."""
    maps = []
    for colour in images.split(1, dim=1):
        x, y = gradients(F.pad(colour, (1, 1, 1, 1), mode="reflect")).unbind(1)
        bins = (torch.atan2(x, y) / math.pi * nbins).floor().long() % nbins
        one_hot = F.one_hot(bins, nbins).movedim(-1, 1) * torch.stack([x, y]).norm(dim=0)[:, None]
        maps.append(F.normalize(F.avg_pool2d(one_hot, cell), dim=1))
    return torch.cat(maps, dim=1)


def one_convolution(padded):
    kernel = torch.tensor(SOBEL)
    return F.conv2d(padded, torch.stack([kernel, kernel.t()])[:, None])


def separable_sums(padded):
    smooth, slope = torch.tensor([1.0, 2.0, 1.0]), torch.tensor([1.0, 0.0, -1.0])
    x = F.conv2d(F.conv2d(padded, smooth.view(1, 1, 3, 1)), slope.view(1, 1, 1, 3))
    y = F.conv2d(F.conv2d(padded, smooth.view(1, 1, 1, 3)), slope.view(1, 1, 3, 1))
    return torch.cat([x, y], dim=1)


@pytest.mark.parametrize("nbins", [9, 18])
def test_bins_on_an_edge_fall_as_in_one_convolution(nbins):
    maps = HOGTarget(cell=4, nbins=nbins)(picture()).transpose(1, 2).unflatten(2, (16, 16))
    expected = one_colour_after_the_other(picture(), one_convolution, nbins, 4)
    torch.testing.assert_close(maps, expected, rtol=0, atol=1e-6)
    # The picture can tell: sums of rows and columns move bins.
    other = one_colour_after_the_other(picture(), separable_sums, nbins, 4)
    assert (other - expected).abs().max() > 0.05


def test_edges_fall_into_the_bin_of_their_direction():
    ramp = torch.arange(16.0).expand(1, 3, 16, 16)
    # Columns at the border have no gradient, because padding reflects; every cell still has one direction.
    for images, direction in ((ramp, 4), (-ramp, 4), (ramp.mT, 0), (-ramp.mT, 0)):
        histograms = HOGTarget(cell=8, nbins=9).histograms(images)
        assert histograms.shape == (1, 3, 9, 2, 2)
        expected = torch.zeros(9)
        expected[direction] = 1
        torch.testing.assert_close(histograms, expected.view(1, 1, 9, 1, 1).expand_as(histograms))


def test_histograms_have_norm_1_for_each_colour_and_flat_cells_are_0():
    images = torch.randn(2, 3, 32, 32)
    images[0, :, :16, :16] = 0.5
    histograms = HOGTarget(cell=8, nbins=18, bias=False).histograms(images)
    norms = histograms.norm(dim=2)
    assert norms[0, :, 0, 0].tolist() == [0, 0, 0]
    norms[0, :, 0, 0] = 1
    torch.testing.assert_close(norms[0, :, 2:], torch.ones(3, 2, 4))
    torch.testing.assert_close(norms[1], torch.ones(3, 4, 4))


def test_cells_of_a_patch_are_concatenated():
    """Values (colour, bin, cell): MaskFeat's order, whose 2 x 2 cells are the last to change."""
    images = torch.randn(2, 3, 32, 48)
    target = HOGTarget(cell=8, nbins=9, patch_size=16)
    assert target.dim == 108 and target.grid((32, 48)) == (2, 3)
    labels, histograms = target(images), target.histograms(images)
    assert labels.shape == (2, 6, 108)
    assert torch.equal(labels[1, 4].view(3, 9, 2, 2), histograms[1, :, :, 2:4, 2:4])


def test_fractional_cells_take_every_pixel_that_they_touch():
    images = torch.randn(1, 3, 28, 28)
    target = HOGTarget(cell=3.5, nbins=9)
    assert target.grid((28, 28)) == (8, 8)
    pixels = HOGTarget(cell=1, nbins=9)
    # Cell 1 is from 3.5 to 7, so of pixels 3 to 6. Histograms of single pixels are one-hot; lengths are lost, so give 1.
    image = torch.sign(images)
    lengths = one_convolution(F.pad(image[:, :1], (1, 1, 1, 1), mode="reflect")).norm(dim=1)
    mean = (pixels.histograms(image)[0, 0] * lengths[0])[:, 3:7, 7:11].mean((1, 2))
    torch.testing.assert_close(target.histograms(image)[0, 0, :, 1, 2], mean / mean.norm())


def test_bias_is_frozen_in_the_state_dict_and_differs_between_levels():
    levels = [HOGTarget(cell=8, bias=True) for _ in range(4)]
    biases = [level.state_dict()["gradient_bias"] for level in levels]
    assert len({tuple(bias.tolist()) for bias in biases}) == 4
    assert all(bias.abs().max() <= 1 / 3 and bias.shape == (2,) for bias in biases)
    assert not list(levels[0].parameters())
    assert not HOGTarget(cell=8).state_dict()
    images = torch.randn(1, 3, 16, 16)
    assert (levels[0](images) - HOGTarget(cell=8)(images)).abs().max() > 0.01
    again = HOGTarget(cell=8, bias=True)
    again.load_state_dict(levels[0].state_dict())
    assert torch.equal(again(images), levels[0](images))


def test_autocast_does_not_move_bins():
    target, images = HOGTarget(cell=4), picture(32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = target(images)
    assert mixed.dtype == torch.float32 and torch.equal(mixed, target(images))


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match=r"HOGTarget\.patch_size must be a multiple of its cell 8, found 20"):
        HOGTarget(cell=8, patch_size=20)
    with pytest.raises(UserError, match=r"HOGTarget\.nbins"):
        HOGTarget(nbins=0)
    with pytest.raises(UserError, match="patches of 32 px, which do not fill images of 224 x 240 px"):
        HOGTarget(cell=32).grid((224, 240))
    with pytest.raises(UserError, match="do not fill"):
        HOGTarget(cell=32)(torch.zeros(1, 3, 40, 40))
