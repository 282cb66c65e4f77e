"""The official MAE position tables and their bicubic interpolation."""

import pytest
import torch

from mimeval.backbones import VisionTransformer
from mimeval.backbones.positions import resample_positions, sincos_position_embedding
from tests.golden import golden
from tests.parity.record import close


@pytest.fixture(scope="module")
def arrays():
    return {key: torch.from_numpy(value) for key, value in golden("mae_pos_embed")[0].items()}


def test_sincos_tables(arrays):
    with_cls = sincos_position_embedding(32, (4, 4))[0]
    without = sincos_position_embedding(24, (5, 5), cls_token=False)[0]
    close("MAE", "positions", with_cls, arrays["out/sincos_dim32_grid4_cls"], 1e-6)
    close("MAE", "positions", without, arrays["out/sincos_dim24_grid5_nocls"], 1e-6)


@pytest.mark.parametrize("new", [6, 3])
def test_interpolation(arrays, new):
    table, expected = arrays[f"in/interpolate_4_to_{new}"], arrays[f"out/interpolate_4_to_{new}"]
    resampled = resample_positions(table[:, 1:], (4, 4), (new, new))
    close("MAE", "positions at another grid", resampled, expected[:, 1:], 1e-5)


@pytest.mark.parametrize("new", [6, 3])
def test_the_backbone_interpolates_the_same_at_every_forward(arrays, new):
    arch = dict(embed_dim=32, depth=1, num_heads=4)
    model = VisionTransformer(arch, img_size=16, patch_size=4, pos_embed="learned")
    model.pos_embed.data.copy_(arrays[f"in/interpolate_4_to_{new}"])
    model.patch_embed.proj.weight.data.zero_()
    model.patch_embed.proj.bias.data.zero_()
    patches, grid = model.embed_patches(torch.zeros(1, 3, 4 * new, 4 * new))
    assert grid == (new, new)
    close("MAE", "positions at another grid", patches, arrays[f"out/interpolate_4_to_{new}"][:, 1:], 1e-5)
