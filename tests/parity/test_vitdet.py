"""detectron2's ViTDet: every block, the pyramid, resampled tables and every gradient."""

import pytest
import torch

from mimeval.backbones import SimpleFeaturePyramid, VisionTransformer
from mimeval.backbones.positions import resample_positions
from tests.golden import golden

# Level of the pyramid -> {index in detectron2's Sequential (and its norm) -> our index in the level's Sequential}.
PYRAMID = {
    "simfp_2": {"0": "0.0", "1": "0.1", "3": "0.3", "4": "0.4", "4.norm": "0.5", "5": "0.6", "5.norm": "0.7"},
    "simfp_3": {"0": "1.0", "1": "1.1", "1.norm": "1.2", "2": "1.3", "2.norm": "1.4"},
    "simfp_4": {"0": "2.0", "0.norm": "2.1", "1": "2.2", "1.norm": "2.3"},
    "simfp_5": {"1": "3.1", "1.norm": "3.2", "2": "3.3", "2.norm": "3.4"},
}


@pytest.fixture(scope="module")
def arrays():
    return {key: torch.from_numpy(value) for key, value in golden("family_vitdet_d2")[0].items()}


def our_name(official: str) -> str:
    """`backbone.net.*` is the ViT, under the same names; `backbone.simfp_k.*` a level of the pyramid."""
    rest = official.removeprefix("backbone.")
    if rest.startswith("net."):
        return rest
    level, _, inner = rest.partition(".")
    module, _, parameter = inner.rpartition(".")
    return f"pyramid.levels.{PYRAMID[level][module]}.{parameter}"


def detector(arrays) -> torch.nn.ModuleDict:
    arch = dict(embed_dim=24, depth=4, num_heads=2)
    net = VisionTransformer(
        arch,
        img_size=80,
        patch_size=16,
        out_type="maps",
        taps=(0, 1, 2, 3),
        pos_embed="learned",
        rel_pos="decomposed",
        rel_pos_size=64,
        window_size=4,
        global_blocks=(1, 3),
    )
    model = torch.nn.ModuleDict(dict(net=net, pyramid=SimpleFeaturePyramid(24, 16)))
    state = {our_name(key.removeprefix("state/")): v for key, v in arrays.items() if key.startswith("state/")}
    model.load_state_dict(state, strict=True)
    return model


def assert_close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_blocks_and_pyramid(arrays):
    model = detector(arrays)
    maps = model["net"](arrays["in/images"])
    for i, ours in enumerate(maps):
        assert_close(ours, arrays[f"out/block_{i}"].permute(0, 3, 1, 2))
    assert_close(maps[-1], arrays["out/tokens"])
    levels = model["pyramid"](maps)
    assert len(levels) == 5
    for i, ours in enumerate(levels):
        assert_close(ours, arrays[f"out/p{i + 2}"])


def test_another_size_that_is_not_square(arrays):
    model = detector(arrays)
    maps = model["net"](arrays["in/images_large"])
    assert_close(maps[-1], arrays["out/tokens_large"])
    for i, ours in enumerate(model["pyramid"](maps)[1:]):
        assert_close(ours, arrays[f"out/p{i + 3}_large"])


def test_every_gradient(arrays):
    model = detector(arrays)
    levels = model["pyramid"](model["net"](arrays["in/images"]))
    loss = sum((arrays[f"in/loss_weight_{i}"] * level.square()).mean() for i, level in enumerate(levels))
    assert_close(loss, arrays["out/loss"].squeeze())
    loss.backward()
    parameters = dict(model.named_parameters())
    official = {our_name(key.removeprefix("grad/")): v for key, v in arrays.items() if key.startswith("grad/")}
    assert set(official) == set(parameters)
    for name, expected in official.items():
        error = (parameters[name].grad - expected).abs().max() / expected.abs().max()
        assert error < 1e-5, f"gradient of {name} is off by {error:.1e} of its largest entry"


@pytest.mark.parametrize("case, grid", [("resampled", (6, 6)), ("resampled_large", (8, 6))])
def test_resampled_positions(arrays, case, grid):
    table = arrays["state/backbone.net.pos_embed"][:, 1:]
    ours = resample_positions(table, (5, 5), grid).unflatten(1, grid)
    torch.testing.assert_close(ours, arrays[f"out/{case}/backbone.net.pos_embed"], rtol=0, atol=1e-6)
