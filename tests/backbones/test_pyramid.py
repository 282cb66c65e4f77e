import pytest
import torch

from mimeval.backbones import SimpleFeaturePyramid
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
