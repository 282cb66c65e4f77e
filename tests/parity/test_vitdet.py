"""ViTDet of detectron2 and of mmdet's project: every block, the pyramid, resampled tables and every gradient."""

import pytest
import torch
from torch import nn

from mimeval.backbones import SimpleFeaturePyramid, VisionTransformer
from mimeval.backbones.positions import resample_positions
from tests.golden import golden

# Level of the pyramid -> {index in detectron2's Sequential (and its norm) -> our index in the level's Sequential}.
DETECTRON2 = {
    "simfp_2": {"0": "0.0", "1": "0.1", "3": "0.3", "4": "0.4", "4.norm": "0.5", "5": "0.6", "5.norm": "0.7"},
    "simfp_3": {"0": "1.0", "1": "1.1", "1.norm": "1.2", "2": "1.3", "2.norm": "1.4"},
    "simfp_4": {"0": "2.0", "0.norm": "2.1", "1": "2.2", "1.norm": "2.3"},
    "simfp_5": {"1": "3.1", "1.norm": "3.2", "2": "3.3", "2.norm": "3.4"},
}
# mmdet has the resizing layers apart from the convolutions, which come after so many of them.
MMDET = {"fpn1": 0, "fpn2": 1}
RESIZING = (4, 1, 0, 1)
CASES = {
    "family_vitdet_d2": dict(num_heads=2, global_blocks=(1, 3), eps=1e-6),
    "family_vitdet_mmdet": dict(num_heads=3, global_blocks=(2, 3), eps=1e-5),  # its config leaves mmcv's default
}


def our_name(official: str) -> str:
    """detectron2: `backbone.net.*` is the ViT, `backbone.simfp_k.*` a level; mmdet: `backbone.*` and `neck.*`."""
    if official.startswith("neck."):
        part, index, *rest = official.removeprefix("neck.").split(".")
        if part in MMDET:
            return ".".join(["pyramid.levels", str(MMDET[part]), index, *rest])
        place = RESIZING[int(index)] + 2 * (part == "fpn_convs") + (rest[0] == "norm_layer")
        return f"pyramid.levels.{index}.{place}.{rest[-1]}"
    rest = official.removeprefix("backbone.")
    if not rest.startswith("simfp_"):
        return f"net.{rest.removeprefix('net.')}"
    level, _, inner = rest.partition(".")
    module, _, parameter = inner.rpartition(".")
    return f"pyramid.levels.{DETECTRON2[level][module]}.{parameter}"


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return request.param, {key: torch.from_numpy(value) for key, value in golden(request.param)[0].items()}


def detector(case, eps=None) -> nn.ModuleDict:
    settings, arrays = CASES[case[0]], case[1]
    net = VisionTransformer(
        dict(embed_dim=24, depth=4, num_heads=settings["num_heads"]),
        img_size=80,
        patch_size=16,
        out_type="maps",
        taps=(0, 1, 2, 3),
        pos_embed="learned",
        rel_pos="decomposed",
        rel_pos_size=64,
        window_size=4,
        global_blocks=settings["global_blocks"],
    )
    model = nn.ModuleDict(dict(net=net, pyramid=SimpleFeaturePyramid(24, 16)))
    state = {our_name(key.removeprefix("state/")): v for key, v in arrays.items() if key.startswith("state/")}
    model.load_state_dict(state, strict=True)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = settings["eps"] if eps is None else eps
    return model


def assert_close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_blocks_and_pyramid(case):
    """6 x 6 tokens, no multiple of the window of 4."""
    model, arrays = detector(case), case[1]
    maps = model["net"](arrays["in/images"])
    for i, ours in enumerate(maps):
        assert_close(ours, arrays[f"out/block_{i}"].permute(0, 3, 1, 2))
    assert_close(maps[-1], arrays["out/tokens"])
    levels = model["pyramid"](maps)
    assert len(levels) == 5
    for i, ours in enumerate(levels):
        assert_close(ours, arrays[f"out/p{i + 2}"])


def test_another_size_that_is_not_square(case):
    """8 x 6 and 6 x 8 tokens: no multiple of the window in one direction."""
    model, arrays = detector(case), case[1]
    maps = model["net"](arrays["in/images_large"])
    assert_close(maps[-1], arrays["out/tokens_large"])
    for i, ours in enumerate(model["pyramid"](maps)[1:]):
        assert_close(ours, arrays[f"out/p{i + 3}_large"])


def test_every_gradient(case):
    model, arrays = detector(case), case[1]
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


def test_resampled_positions(case):
    key = "backbone.net.pos_embed" if case[0].endswith("d2") else "backbone.pos_embed"
    table = case[1][f"state/{key}"][:, 1:]
    for name in ("resampled", "resampled_large"):
        expected = case[1][f"out/{name}/{key}"]
        ours = resample_positions(table, (5, 5), tuple(expected.shape[1:3])).unflatten(1, expected.shape[1:3])
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


def test_our_epsilon_is_detectron2s():
    """mmdet's project with the epsilon that detectron2, MAE and this package have."""
    name = "family_vitdet_mmdet"
    arrays = {key: torch.from_numpy(value) for key, value in golden(name)[0].items()}
    maps = detector((name, arrays), eps=1e-6)["net"](arrays["in/images"])
    assert_close(maps[-1], arrays["out/tokens_eps1e-6"])
    fresh = VisionTransformer("tiny", out_type="maps", window_size=14)
    assert {module.eps for module in fresh.modules() if isinstance(module, nn.LayerNorm)} == {1e-6}
