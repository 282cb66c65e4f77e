"""UperNet's inputs: mmseg's MAE and BEiT backbones with its Feature2Pyramid, same weights, same maps and gradients.

mmseg's own classes run here with random weights; the golden files hold what its release 1.2.2 computed.
"""

import re
import warnings

import pytest
import torch
from torch import Tensor, nn

from mimeval.backbones import SwinTransformer, TapPyramid, VisionTransformer
from mimeval.engine import mmcv_ops
from tests.golden import golden

mmcv_ops.install()

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mmseg.models.backbones import MAE, BEiT
    from mmseg.models.backbones import SwinTransformer as MMSegSwin
    from mmseg.models.necks import Feature2Pyramid

WIDTH, DEPTH = 28, 4
RENAMES = (
    ("patch_embed.projection.", "patch_embed.proj."),
    (".ffn.layers.0.0.", ".mlp.fc1."),
    (".ffn.layers.1.", ".mlp.fc2."),
    ("layers.", "blocks."),
    (".ln", ".norm"),
    (".gamma_1", ".ls1.gamma"),
    (".gamma_2", ".ls2.gamma"),
)


def our_name(official: str) -> str:
    for theirs, ours in RENAMES:
        official = official.replace(theirs, ours)
    return official


def our_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """mmseg's backbone under our names; BEiT's q and v biases become one bias with zeros for k."""
    ours = {our_name(name): value for name, value in state.items() if not name.endswith("relative_position_index")}
    for name in [name for name in ours if name.endswith("q_bias")]:
        q, v = ours.pop(name), ours.pop(name.replace("q_bias", "v_bias"))
        ours[name.replace("q_bias", "qkv.bias")] = torch.cat([q, torch.zeros_like(q), v])
    return ours


def vit(kind: str, taps, num_heads: int = 4, size: int = 64, depth: int = DEPTH) -> VisionTransformer:
    return VisionTransformer(
        dict(embed_dim=WIDTH, depth=depth, num_heads=num_heads),
        img_size=size,
        out_type="maps",
        taps=taps,
        pos_embed="learned" if kind == "mae" else "none",
        rel_pos="bias",
        init_values=1.0,
    )


def spread(module: nn.Module) -> nn.Module:
    """In double precision, with weights away from zeros and ones and running statistics away from (0, 1)."""
    torch.manual_seed(5)
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if value.is_floating_point():
                noise = torch.randn_like(value)
                value.add_((0.3 if "table" in name else 0.05) * (noise.abs() if "running_var" in name else noise))
    return module.double()


def assert_gradients(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    assert set(ours) == set(theirs)
    for name, expected in theirs.items():
        largest = expected.abs().max()
        # The bias of k moves every score of a query alike: its gradient is rounding.
        if name.endswith("qkv.bias"):
            ours[name], expected = (torch.cat([g[:WIDTH], g[-WIDTH:]]) for g in (ours[name], expected))
        assert (ours[name] - expected).abs().max() < tolerance * largest, name


@pytest.mark.parametrize("kind", ["mae", "beit"])
@pytest.mark.parametrize("taps", [(3, 5, 7, 11), (1, 3, 9, 11)])
def test_taps_and_pyramid_equal_mmsegs_own(kind, taps):
    settings = dict(embed_dims=WIDTH, num_layers=12, num_heads=4, out_indices=list(taps), init_values=1.0)
    settings |= dict(img_size=(64, 64), patch_size=16, drop_path_rate=0.0, norm_cfg=dict(type="LN", eps=1e-6))
    theirs = spread({"mae": MAE, "beit": BEiT}[kind](**settings))
    their_neck = spread(Feature2Pyramid(WIDTH, norm_cfg=dict(type="BN")))
    ours, neck = vit(kind, taps, depth=12).double(), TapPyramid(WIDTH, norm_cfg=dict(type="BN")).double()
    ours.load_state_dict(our_state(theirs.state_dict()), strict=True)
    names = ("upsample_4x.0", "up"), ("upsample_4x.1", "norm"), ("upsample_4x.3", "up_again")
    state = their_neck.state_dict()
    for their_name, our_part in names:
        state = {name.replace(their_name, f"levels.0.{our_part}"): value for name, value in state.items()}
    neck.load_state_dict({name.replace("upsample_2x.0", "levels.1"): value for name, value in state.items()})
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    results = []
    for backbone, pyramid in ((theirs, their_neck), (ours, neck)):
        maps = backbone(images)
        levels = pyramid(maps)
        sum((level.square() * (i + 1)).mean() for i, level in enumerate(levels)).backward()
        results.append([*maps, *levels])
    assert len(results[0]) == len(results[1]) == 8
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters() if parameter.grad is not None}
    found = {name: parameter.grad for name, parameter in ours.named_parameters()}
    assert_gradients(found, our_state(gradients), tolerance=1e-9)


@pytest.mark.parametrize("kind, num_heads", [("mae", 4), ("beit", 2)])
def test_golden_taps_and_gradients(kind, num_heads):
    arrays = {key: torch.from_numpy(value) for key, value in golden(f"family_mmseg_{kind}")[0].items()}

    def part(prefix: str, of: str) -> dict[str, Tensor]:
        prefix = f"{prefix}/{of}."
        return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}

    backbone, neck = vit(kind, range(DEPTH), num_heads), Feature2Pyramid(WIDTH, norm_cfg=dict(type="BN"))
    backbone.load_state_dict(our_state(part("state", "backbone")), strict=True)
    neck.load_state_dict(part("state", "neck"), strict=True)
    neck.eval()
    maps = backbone(arrays["in/images"])
    levels = neck(maps)
    for i, (tap, level) in enumerate(zip(maps, levels, strict=True)):
        torch.testing.assert_close(tap, arrays[f"out/tap_{i}"], rtol=0, atol=1e-5)
        torch.testing.assert_close(level, arrays[f"out/neck_{i}"], rtol=0, atol=1e-5)
    loss = sum((arrays[f"in/loss_weight_{i}"] * level.square()).mean() for i, level in enumerate(levels))
    torch.testing.assert_close(loss, arrays["out/loss"].squeeze(), rtol=1e-5, atol=0)
    loss.backward()
    found = {name: parameter.grad for name, parameter in backbone.named_parameters()}
    assert_gradients(found, our_state(part("grad", "backbone")))
    assert_gradients({name: parameter.grad for name, parameter in neck.named_parameters()}, part("grad", "neck"))


def test_swins_normed_stages_equal_mmsegs_own():
    """Sides that are no multiple of window or patch; mmseg's patch merging has its channels in another order."""
    settings = dict(depths=(2, 2, 2, 1), num_heads=(1, 2, 4, 8), window_size=3)
    theirs = spread(MMSegSwin(pretrain_img_size=96, embed_dims=8, strides=(4, 2, 2, 2), drop_path_rate=0.0, **settings))
    arch = dict(embed_dim=8, depths=settings["depths"], num_heads=settings["num_heads"])
    ours = SwinTransformer(arch, img_size=96, window_size=3, tap_norm=True).double()
    state = {}
    for name, value in theirs.state_dict().items():
        name = re.sub(r"^norm(\d)\.", r"tap_norms.\1.", name)
        name = re.sub(r"^stages\.(\d)\.downsample", lambda match: f"layers.{int(match[1]) + 1}.downsample", name)
        for there, here in (
            ("patch_embed.projection", "patch_embed.proj"),
            ("stages.", "layers."),
            ("attn.w_msa.", "attn."),
            ("ffn.layers.0.0.", "mlp.fc1."),
            ("ffn.layers.1.", "mlp.fc2."),
        ):
            name = name.replace(there, here)
        if name.endswith("relative_position_index"):
            continue
        if "downsample" in name and value.shape[-1] % 4 == 0 and value.shape[-1] > value.shape[0] / 2:
            # (channel, row, column) there, (column, row, channel) here
            value = value.unflatten(-1, (-1, 2, 2)).transpose(-3, -1).flatten(-3)
        state[name] = value
    ours.load_state_dict(state, strict=True)
    images = torch.randn(1, 3, 125, 150, dtype=torch.float64)
    for expected, found in zip(theirs(images), ours(images), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
