import pytest
import torch
from torch import nn

from mimeval.backbones import SimpleFeaturePyramid, TapPyramid
from mimeval.errors import UserError
from mimeval.registry import MODELS


def test_levels_of_a_map_that_is_not_square():
    pyramid = MODELS.build(dict(type="SimpleFeaturePyramid", in_channels=16, out_channels=8))
    maps = (torch.zeros(2, 16, 3, 3), torch.randn(2, 16, 6, 4))
    levels = pyramid(maps)
    assert [level.shape[1:] for level in levels] == [(8, 24, 16), (8, 12, 8), (8, 6, 4), (8, 3, 2), (8, 2, 1)]
    # p6 is every second pixel of p5.
    assert torch.equal(levels[4], levels[3][:, :, ::2, ::2])


def test_norms_are_over_channels_with_vits_epsilon():
    level = SimpleFeaturePyramid(16, 8, scales=(1,), num_outs=1)([torch.randn(1, 16, 4, 4)])[0]
    torch.testing.assert_close(level.mean(dim=1), torch.zeros(1, 4, 4), rtol=0, atol=1e-5)
    torch.testing.assert_close(level.var(dim=1, unbiased=False), torch.ones(1, 4, 4), rtol=1e-3, atol=0)
    assert {m.eps for m in SimpleFeaturePyramid(16, 8).modules() if isinstance(m, torch.nn.LayerNorm)} == {1e-6}


def test_settings_that_make_no_sense():
    with pytest.raises(UserError, match="scales of the pyramid must be 4, 2, 1 or 0.5, found 8"):
        SimpleFeaturePyramid(16, 8, scales=(8, 4))
    with pytest.raises(UserError, match="num_outs must be at least the 4 scales, found 3"):
        SimpleFeaturePyramid(16, 8, num_outs=3)


GROUPS = dict(type="GN", num_groups=4)


def test_each_tap_has_its_level():
    pyramid = MODELS.build(dict(type="TapPyramid", embed_dim=16, norm_cfg=GROUPS))
    taps = [torch.randn(2, 16, 6, 4) for _ in range(4)]
    levels = pyramid(taps)
    assert [level.shape[1:] for level in levels] == [(16, 24, 16), (16, 12, 8), (16, 6, 4), (16, 3, 2)]
    assert levels[2] is taps[2]
    torch.testing.assert_close(levels[3], taps[3].unflatten(2, (3, 2)).unflatten(4, (2, 2)).amax(dim=(3, 5)))
    mean = TapPyramid(16, norm_cfg=GROUPS, pool="mean")(taps)[3]
    torch.testing.assert_close(mean, taps[3].unflatten(2, (3, 2)).unflatten(4, (2, 2)).mean(dim=(3, 5)))
    # Only the finest level has a norm and an activation, between its two convolutions.
    kinds = [type(module) for module in pyramid.levels[0]]
    assert kinds == [nn.ConvTranspose2d, nn.GroupNorm, nn.GELU, nn.ConvTranspose2d]
    assert isinstance(pyramid.levels[1], nn.ConvTranspose2d)


def test_a_pyramid_of_other_taps_is_an_error():
    with pytest.raises(UserError, match="pool of the pyramid must be one of max, mean, found 'sum'"):
        TapPyramid(16, norm_cfg=GROUPS, pool="sum")
    with pytest.raises(UserError, match="scales of the pyramid must be 4, 2, 1 or 0.5, found 8"):
        TapPyramid(16, norm_cfg=GROUPS, scales=(8,))
    with pytest.raises(ValueError, match="zip"):
        TapPyramid(16, norm_cfg=GROUPS)([torch.randn(1, 16, 4, 4)])
