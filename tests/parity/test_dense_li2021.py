"""MIMDet's ViT for the benchmark of Li et al. (2021): windows, two shared bias tables, four resized taps and every gradient."""

import pytest
import torch

from mimeval.backbones import TapPyramid, VisionTransformer
from mimeval.checkpoints.load import load_backbone
from tests.golden import golden

TAPS = (1, 3, 5, 7)
RENAMES = (
    ("windowed_rel_pos_bias.relative_position_bias_table", "net.rel_pos_bias.window_table"),
    ("global_rel_pos_bias.relative_position_bias_table", "net.rel_pos_bias.global_table"),
    ("ms_adaptor.0.0.", "pyramid.levels.0.up."),
    ("ms_adaptor.0.1.", "pyramid.levels.0.norm."),
    ("ms_adaptor.0.3.", "pyramid.levels.0.up_again."),
    ("ms_adaptor.1.", "pyramid.levels.1."),
)


def our_name(official: str) -> str:
    for theirs, ours in RENAMES:
        if official.startswith(theirs):
            return ours + official.removeprefix(theirs)
    return f"net.{official}"


@pytest.fixture(scope="module")
def arrays():
    return {key: torch.from_numpy(value) for key, value in golden("li2021_mimdet")[0].items()}


@pytest.fixture(scope="module")
def model(arrays) -> torch.nn.ModuleDict:
    net = VisionTransformer(
        dict(embed_dim=64, depth=8, num_heads=4, mlp_ratio=1),
        img_size=48,
        patch_size=8,
        out_type="maps",
        taps=TAPS,
        pos_embed="learned",
        rel_pos="window_bias",
        window_size=3,
        global_blocks=TAPS,
    )
    pyramid = TapPyramid(64, norm_cfg=dict(type="GN", num_groups=32))
    model = torch.nn.ModuleDict(dict(net=net, pyramid=pyramid))
    state = {our_name(key.removeprefix("state/")): v for key, v in arrays.items() if key.startswith("state/")}
    # Without a row for the class token, which is not there either.
    state["net.pos_embed"] = torch.cat([torch.zeros(1, 1, 64), state["net.pos_embed"]], dim=1)
    model.load_state_dict(state, strict=True)
    return model.eval()


def test_levels_and_every_gradient(arrays, model):
    levels = model["pyramid"](model["net"](arrays["in/images"]))
    for i, ours in enumerate(levels):
        theirs = arrays[f"out/s{i}"]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))
    loss = sum((arrays[f"in/loss_weight_{i}"] * level.square()).mean() for i, level in enumerate(levels))
    torch.testing.assert_close(loss, arrays["out/loss"].squeeze(), rtol=1e-6, atol=0)
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    gradients["net.pos_embed"] = gradients["net.pos_embed"][:, 1:]
    checked = set()
    for key, expected in arrays.items():
        kind, _, official = key.partition("/")
        if kind not in ("grad", "gradsum"):
            continue
        grad = gradients[our_name(official)]
        checked.add(our_name(official))
        if kind == "grad":
            error = float((grad - expected).abs().max() / expected.abs().max())
        else:
            grad = grad.double()
            sums = torch.stack([grad.abs().sum(), grad.square().sum(), grad.abs().max()])
            error = float(((sums - expected) / expected).abs().max())
        assert error < 2e-5, f"gradient of {official} is off by {error:.1e}"
    assert checked == set(gradients)


def test_windows_that_do_not_fit_are_padded_as_in_vitdet(model):
    # MIMDet knows its own size only; here any runs, the global table resized.
    with torch.no_grad():
        levels = model["pyramid"](model["net"](torch.randn(1, 3, 40, 56)))
    assert [tuple(level.shape[-2:]) for level in levels] == [(20, 28), (10, 14), (5, 7), (2, 3)]


def test_a_pre_trained_encoder_loads_strictly(tmp_path):
    """Positions are resampled once, the tables start at zero, and class token and final norm are left, each declared."""
    arch = dict(embed_dim=32, depth=4, num_heads=4)
    pretrained = VisionTransformer(arch, img_size=32, patch_size=8)
    torch.save({"model": pretrained.state_dict()}, tmp_path / "mae.pth")
    net = VisionTransformer(
        arch,
        img_size=64,
        patch_size=8,
        out_type="maps",
        taps=(1, 3),
        pos_trainable=True,
        rel_pos="window_bias",
        window_size=4,
        global_blocks=(1, 3),
    )
    report = load_backbone(net, tmp_path / "mae.pth")
    assert sorted(report.fresh) == ["rel_pos_bias.global_table", "rel_pos_bias.window_table"]
    assert report.transformations == ["pos_embed resampled 4x4 -> 8x8 bicubic"]
    assert sorted(report.left_over) == ["cls_token", "norm.bias", "norm.weight"] and not report.waived
    assert torch.equal(net.blocks[3].attn.qkv.weight, pretrained.blocks[3].attn.qkv.weight)
