import warnings

import pytest
import torch
from timm.models.swin_transformer import SwinTransformer as TimmSwin
from torch import nn

from mimeval.backbones import SwinTransformer
from mimeval.errors import UserError
from mimeval.registry import MODELS

ARCH = dict(embed_dim=8, depths=(2, 2, 2, 1), num_heads=(1, 2, 4, 8))


def swin(arch=ARCH, img_size=96, window_size=3, **settings):
    torch.manual_seed(0)
    model = SwinTransformer(arch, img_size=img_size, window_size=window_size, **settings)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def images(height=96, width=96):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [96, 48])
def test_stages_equal_timms_bit_for_bit_at_its_own_size(size):
    # 48 px: the third stage is one window, which is not shifted, and the last is smaller than a window.
    model = swin(img_size=size, taps=(0, 2, 3)).eval()
    twin = TimmSwin(img_size=size, window_size=3, num_classes=0, **ARCH).eval()
    missing, unexpected = twin.load_state_dict(model.state_dict(), strict=False)
    assert not unexpected and set(missing) == {"norm.weight", "norm.bias"}
    theirs = twin.forward_intermediates(images(size, size), indices=[0, 2, 3], intermediates_only=True)
    assert all(torch.equal(ours, map_) for ours, map_ in zip(model(images(size, size)), theirs, strict=True))
    assert model.out_channels == (8, 32, 64) and model.strides == (4, 16, 32)


def test_the_mean_for_classification_equals_timms():
    model = swin(out_type="mean").eval()
    twin = TimmSwin(img_size=96, window_size=3, num_classes=0, **ARCH).eval()
    twin.load_state_dict(model.state_dict(), strict=True)
    torch.testing.assert_close(model(images())[0], twin(images()), rtol=0, atol=1e-6)


def test_localmims_mean_before_the_norm_and_its_epsilons():
    model = swin(out_type="mean", norm_after_pool=True, norm_eps=1e-6, norm2_eps=1e-5).eval()
    found = {name: module.eps for name, module in model.named_modules() if isinstance(module, nn.LayerNorm)}
    assert {eps for name, eps in found.items() if name.endswith(".norm2")} == {1e-5}
    assert {eps for name, eps in found.items() if not name.endswith(".norm2")} == {1e-6}
    assert {"norm", "patch_embed.norm", "layers.1.downsample.norm", "layers.0.blocks.0.norm1"} < set(found)
    twin = swin(out_type="maps", taps=(-1,), norm_eps=1e-6, norm2_eps=1e-5).eval()
    twin.load_state_dict({name: value for name, value in model.state_dict().items() if not name.startswith("norm.")})
    (last,) = twin(images())
    torch.testing.assert_close(model(images())[0], model.norm(last.mean(dim=(2, 3))), rtol=0, atol=1e-6)
    default = {module.eps for module in swin(out_type="mean").modules() if isinstance(module, nn.LayerNorm)}
    assert default == {1e-5}


# mmpretrain's Swin pads before it shifts, as the official detection and segmentation code does.
MMPRETRAIN = {
    "patch_embed.proj": "patch_embed.projection",
    "layers": "stages",
    "attn.": "attn.w_msa.",
    "mlp.fc1": "ffn.layers.0.0",
    "mlp.fc2": "ffn.layers.1",
    "tap_norms.": "norm",
}


def to_mmpretrain(name, value):
    parts = name.split(".")
    if parts[2:3] == ["downsample"]:
        parts[1] = str(int(parts[1]) - 1)  # timm merges at the start of a stage, others at the end of the one before
        if value.shape[-1] == 4 * ARCH["embed_dim"] * 2 ** int(parts[1]):
            # (column, row, channel) here, (channel, row, column) there
            value = value.unflatten(-1, (2, 2, -1)).transpose(-3, -1).flatten(-3)
    name = ".".join(parts)
    for ours, theirs in MMPRETRAIN.items():
        name = name.replace(ours, theirs)
    return name, value


@pytest.mark.parametrize("size", [(96, 96), (125, 150), (130, 107)])
def test_any_input_size_equals_an_independent_implementation(size):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mmpretrain.models.backbones import SwinTransformer as Reference
    arch = dict(embed_dims=8, depths=[2, 2, 2, 1], num_heads=[1, 2, 4, 8])
    every_stage = dict(out_indices=(0, 1, 2, 3), out_after_downsample=False)
    reference = Reference(arch, img_size=96, window_size=3, pad_small_map=True, **every_stage)
    reference.eval()
    model = swin(tap_norm=True).eval()
    state = dict(to_mmpretrain(name, value) for name, value in model.state_dict().items())
    missing, unexpected = reference.load_state_dict(state, strict=False)
    assert not unexpected and all("relative_position_index" in name for name in missing)
    for ours, theirs in zip(model(images(*size)), reference(images(*size)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_maps_are_rounded_up():
    maps = MODELS.build(dict(type="SwinTransformer", arch=ARCH, img_size=64, window_size=4))(images(70, 93))
    assert [map_.shape[1:] for map_ in maps] == [(8, 18, 24), (16, 9, 12), (32, 5, 6), (64, 3, 3)]


def test_stages_above_the_highest_tap_are_neither_run_nor_trained():
    model = swin(taps=(0, 1), tap_norm=True)
    model.layers[2].register_forward_hook(lambda *_: pytest.fail("stage 2 ran"))
    sum((map_ * torch.randn_like(map_)).sum() for map_ in model(images())).backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert {name.split(".")[1] for name in trained if name.startswith("layers")} == {"0", "1"}


def test_gradient_checkpointing_gives_equal_gradients():
    gradients = []
    for grad_checkpointing in (False, True):
        model = swin(out_type="mean", grad_checkpointing=grad_checkpointing, drop_path_rate=0.5)
        runs = []
        model.layers[0].blocks[0].register_forward_pre_hook(lambda *_, runs=runs: runs.append(1))
        torch.manual_seed(3)
        model(images())[0].square().mean().backward()
        assert len(runs) == 1 + grad_checkpointing  # once more in the backward pass
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_a_frozen_backbone_stays_in_eval_and_without_gradients():
    model = nn.Sequential(swin(frozen=True, drop_path_rate=0.5))
    model.train()
    assert not any(module.training for module in model.modules() if module is not model)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_initial_weights_are_swins():
    torch.manual_seed(0)
    model = SwinTransformer(dict(embed_dim=32, depths=(1, 1), num_heads=(1, 2)), img_size=64, window_size=8)
    model.init_cfg = dict(type="Constant", layer="LayerNorm", val=3.0)
    for expected_norm in (1, 3):
        for name, parameter in model.named_parameters():
            if name.endswith(("qkv.weight", "fc1.weight", "fc2.weight", "reduction.weight", "bias_table")):
                assert parameter.std().item() == pytest.approx(0.02, rel=0.15), name
            elif "norm" in name and name.endswith("weight"):
                assert parameter.eq(expected_norm).all()
        model.init_weights()
    assert model.is_init


EXPECTED_IDS = {
    "mask_token": 0,
    "patch_embed.proj.weight": 0,
    "patch_embed.norm.bias": 0,
    "layers.0.blocks.0.norm1.weight": 1,
    "layers.0.blocks.1.attn.relative_position_bias_table": 2,
    "layers.1.downsample.reduction.weight": 2,
    "layers.1.blocks.0.attn.qkv.weight": 3,
    "layers.1.blocks.1.mlp.fc2.bias": 4,
    "layers.2.downsample.norm.weight": 4,
    "layers.2.blocks.0.norm1.weight": 5,
    "layers.2.blocks.1.norm1.weight": 6,
    "layers.3.downsample.norm.bias": 6,
    "layers.3.blocks.0.attn.proj.bias": 7,
    "norm.weight": 8,
    "tap_norms.0.weight": 8,
}


def test_layer_ids():
    model = swin()
    assert {name: model.layer_id(name) for name in EXPECTED_IDS} == EXPECTED_IDS and model.num_layers == 9
    assert {model.layer_id(name) for name, _ in swin(tap_norm=True).named_parameters()} == set(range(9))


@pytest.mark.parametrize(
    "name", ["head.weight", "layers.4.blocks.0.x", "layers.3.blocks.1.x", "layers.0.norm", "layers"]
)
def test_a_name_that_no_rule_knows_is_an_error(name):
    with pytest.raises(KeyError, match=name):
        swin().layer_id(name)


def test_relative_position_tables_are_not_decayed():
    names = swin().no_weight_decay()
    assert len(names) == 7 and all(name.endswith("attn.relative_position_bias_table") for name in names)


@pytest.mark.parametrize("arch, millions", [("tiny", 27.5), ("small", 48.8), ("base", 86.7), ("large", 195.0)])
def test_sizes(arch, millions):
    with torch.device("meta"):
        model = SwinTransformer(arch, out_type="mean")
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(arch="huge"), "arch must be one of tiny, small, base, large, found 'huge'"),
        (dict(arch=dict(embed_dim=8, depth=4, num_heads=2)), "arch needs embed_dim, depths, num_heads"),
        (dict(arch=dict(embed_dim=8, depths=(1, 1), num_heads=(1,))), "one number for each stage"),
        (dict(out_type="tokens"), "out_type must be one of maps, mean, found 'tokens'"),
        (dict(out_type="mean", taps=(0,)), "taps and tap_norm go with out_type 'maps'"),
        (dict(taps=(4,)), r"taps must be different blocks of 0 to 3, found \[4\]"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(UserError, match=message):
        SwinTransformer(**{"arch": ARCH, **settings})


def test_bf16_autocast_stays_close():
    model = swin(tap_norm=True).eval()
    exact = model(images(125, 150))
    with torch.autocast("cpu", torch.bfloat16):
        for ours, expected in zip(model(images(125, 150)), exact, strict=True):
            assert (ours - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize("settings", [dict(), dict(taps=(1, 2), tap_norm=True), dict(out_type="mean")])
def test_encoding_embedded_patches_is_the_forward_pass(settings):
    torch.manual_seed(0)
    arch = dict(embed_dim=8, depths=(1, 2, 1), num_heads=(1, 2, 2))
    model = SwinTransformer(arch, img_size=(64, 96), window_size=4, **settings).eval()
    images = torch.randn(2, 3, 64, 96)
    patches, grid = model.embed_patches(images)
    assert grid == model.grid == (16, 24) and patches.shape == (2, 16 * 24, model.patch_dim)
    assert model.add_positions(patches, grid) is patches
    encoded = model.encode(patches)
    assert [x.shape[1:] for x in encoded] == [
        (rows * columns, dim) for dim, (rows, columns) in zip(model.level_dims, model.level_grids, strict=True)
    ]
    for tokens, features in zip(encoded, model(images), strict=True):
        is_mean = features.ndim == 2
        torch.testing.assert_close(
            tokens.mean(1) if is_mean else tokens.mT, features if is_mean else features.flatten(2)
        )


def test_encoding_refuses_padding():
    model = SwinTransformer(dict(embed_dim=8, depths=(1,), num_heads=(1,)), img_size=32)
    with pytest.raises(UserError, match="needs every patch"):
        model.encode(torch.zeros(1, 64, 8), key_valid=torch.ones(1, 64, dtype=torch.bool))


def test_weights_start_as_asked():
    """'xavier' is bounded by sqrt(6 / (inputs + outputs)), the patch projection taken as linear; 'swin' is normal 0.02."""
    arch = dict(embed_dim=32, depths=(1, 1), num_heads=(2, 2))
    xavier, swin = (SwinTransformer(arch, weight_init=kind) for kind in ("xavier", "swin"))
    for weight in (xavier.layers[0].blocks[0].mlp.fc1.weight, xavier.patch_embed.proj.weight.flatten(1)):
        bound = (6 / sum(weight.shape)) ** 0.5
        assert 0.9 * bound < weight.abs().max() <= bound
    assert 0.015 < swin.layers[0].blocks[0].mlp.fc1.weight.std() < 0.025
    for model in (xavier, swin):
        assert model.layers[0].blocks[0].mlp.fc1.bias.abs().max() == 0
        assert 0.01 < model.layers[0].blocks[0].attn.relative_position_bias_table.std() < 0.03
        before = model.layers[0].blocks[0].mlp.fc1.weight.clone()
        model.init_weights()
        assert not torch.equal(before, model.layers[0].blocks[0].mlp.fc1.weight)
    with pytest.raises(UserError, match="weight_init must be one of swin, xavier, found 'moco'"):
        SwinTransformer(arch, weight_init="moco")
