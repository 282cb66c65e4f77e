import pytest
import torch

from mimeval.pretrain.targets.pixel import PixelTarget, patchify, unpatchify


def test_patchify_lays_out_row_column_channel():
    images = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6).float()
    patches = patchify(images, 2)
    assert patches.shape == (2, 6, 12)
    # Patch 4 of image 1 is row 1, column 1 of the grid; its second value is the second channel of its first pixel.
    assert patches[1, 4].reshape(2, 2, 3)[0, 0].tolist() == images[1, :, 2, 2].tolist()
    assert patches[1, 4].reshape(2, 2, 3)[1, 0].tolist() == images[1, :, 3, 2].tolist()


def test_unpatchify_is_the_inverse():
    images = torch.randn(2, 3, 8, 12)
    assert torch.equal(unpatchify(patchify(images, 4), 4, (2, 3)), images)


def test_normalised_targets_have_zero_mean_and_unit_unbiased_variance():
    target = PixelTarget(patch_size=4)(torch.randn(2, 3, 8, 8) * 5 + 2)
    torch.testing.assert_close(target.mean(-1), torch.zeros(2, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(target.var(-1), torch.ones(2, 4), atol=1e-5, rtol=0)


@pytest.mark.parametrize("norm_pix", [True, False])
def test_the_true_target_gives_back_the_image(norm_pix):
    images = torch.randn(2, 3, 8, 8)
    target = PixelTarget(4, norm_pix)
    torch.testing.assert_close(target.to_images(target(images), images), images, atol=1e-5, rtol=1e-5)
