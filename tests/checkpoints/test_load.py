"""A backbone loads in full, or as declared, or as waived, or not at all."""

import argparse

import pytest
import torch
from mmengine.model import BaseModel, initialize
from mmengine.registry import DefaultScope
from safetensors.torch import save_file

from mimeval.backbones import SwinTransformer, VisionTransformer
from mimeval.checkpoints import load_backbone
from mimeval.checkpoints.formats.mae import MAE
from mimeval.errors import UserError
from tests.golden import golden

SIZE = dict(embed_dim=32, depth=3, num_heads=4)


def vit(**kwargs) -> VisionTransformer:
    return VisionTransformer(**{"arch": SIZE, "img_size": 32, "patch_size": 8, **kwargs}).eval()


def official(name: str = "mae_pretrain", case: str = "") -> dict[str, torch.Tensor]:
    prefix = f"{case}state/"
    arrays, _ = golden(name)
    return {key.removeprefix(prefix): torch.as_tensor(arrays[key]) for key in arrays if key.startswith(prefix)}


@pytest.fixture
def mae_file(tmp_path):
    torch.save({"model": official(), "epoch": 3}, tmp_path / "mae.pth")
    return tmp_path / "mae.pth"


def saved(path, state):
    torch.save({"model": state}, path)
    return path


def same_weights(backbone, state, names):
    own = backbone.state_dict()
    return all(torch.equal(own[name], state[name]) for name in names)


def test_a_pre_trained_checkpoint_loads_whole(mae_file):
    backbone, state = vit(), official()
    report = load_backbone(backbone, mae_file)
    names = [name for name in state if not name.startswith(("decoder", "mask_token"))]
    assert sorted(report.loaded) == sorted(names) == sorted(backbone.state_dict())
    assert same_weights(backbone, state, names)
    assert (report.family, report.container, report.fresh, report.waived) == ("mae", "model", {}, {})
    assert report.parameters == report.total_parameters == sum(state[name].numel() for name in names)
    assert set(report.left_over) == set(state) - set(names)
    assert backbone.load_report is report


def test_official_features_come_out(mae_file):
    arrays, _ = golden("mae_pretrain")
    backbone = vit()
    load_backbone(backbone, mae_file)
    images, noise = torch.as_tensor(arrays["in/images"]), torch.as_tensor(arrays["in/noise"])
    with torch.inference_mode():
        patches, _ = backbone.embed_patches(images)
        keep = noise.argsort(1)[:, :4, None].expand(-1, -1, 32)
        latent = backbone.encode(patches.gather(1, keep))[-1]
    torch.testing.assert_close(latent, torch.as_tensor(arrays["out/latent"]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("case", "out_type"), [("pool/", "mean"), ("cls/", "cls")])
def test_a_fine_tuned_checkpoint_loads_whole_and_gives_official_features(tmp_path, case, out_type):
    (arrays, _), state = golden("mae_finetune"), official("mae_finetune", case)
    backbone = vit(out_type=out_type)
    report = load_backbone(backbone, saved(tmp_path / "x.pth", state))
    assert report.fresh == {} and set(report.left_over) == {"head.weight", "head.bias"}
    with torch.inference_mode():
        features = backbone(torch.as_tensor(arrays["in/images"]))[0]
    torch.testing.assert_close(features, torch.as_tensor(arrays[f"{case}out/features"]), atol=1e-5, rtol=0)


def test_an_fc_norm_is_no_norm(tmp_path):
    path = saved(tmp_path / "x.pth", official("mae_finetune", "pool/"))
    with pytest.raises(
        UserError,
        match=r"2 of the backbone's 42 tensors missing \(norm.weight, norm.bias; nearest .*: fc_norm.weight\)",
    ):
        load_backbone(vit(), path)
    report = load_backbone(vit(out_type="maps"), path)  # un-normed maps need neither
    assert {"fc_norm.weight", "fc_norm.bias"} < set(report.left_over) and report.fresh == {}


def test_fine_tuning_on_the_mean_lacks_exactly_what_the_official_script_asserts(mae_file):
    report = load_backbone(vit(out_type="mean"), mae_file)
    assert set(report.fresh) == {"fc_norm.weight", "fc_norm.bias"}
    assert {"norm.weight", "norm.bias"} <= set(report.left_over)


@pytest.mark.parametrize(
    ("settings", "fresh"),
    [
        (dict(out_type="maps", taps=(0, 2), tap_norm=True), "tap_norms"),
        (dict(out_type="maps", window_size=2, global_blocks=(2,), rel_pos="decomposed"), "rel_pos_"),
        (dict(rel_pos="shared_bias"), "rel_pos_bias."),
        (dict(rel_pos="bias"), "relative_position_bias_table"),
        (dict(init_values=0.1), "gamma"),
    ],
)
def test_what_the_config_adds_is_fresh_and_said(mae_file, settings, fresh):
    backbone = vit(**settings)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    report = load_backbone(backbone, mae_file)
    assert report.fresh and all(fresh in name for name in report.fresh)
    assert len(report.fresh) + len(report.loaded) == len(before)
    assert same_weights(backbone, before, report.fresh)
    assert all(name in str(report) for name in list(report.fresh)[:2])


def test_a_group_that_is_there_in_part_is_an_error(tmp_path):
    whole = vit(rel_pos="bias")
    state = {f"backbone.{name}": tensor for name, tensor in whole.state_dict().items()}
    table = "backbone.blocks.{}.attn.relative_position_bias_table"
    save_file(state, tmp_path / "whole.safetensors")
    assert load_backbone(vit(rel_pos="bias"), tmp_path / "whole.safetensors").fresh == {}
    del state[table.format(1)]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(UserError, match=r"1 of the backbone's 45 tensors missing \(blocks.1"):
        load_backbone(vit(rel_pos="bias"), tmp_path / "part.safetensors")


@pytest.mark.parametrize(("size", "case"), [(48, "interpolate_4_to_6"), (24, "interpolate_4_to_3")])
def test_positions_are_resampled_as_the_official_code_does(tmp_path, size, case):
    arrays, _ = golden("mae_pos_embed")
    state = official() | {"pos_embed": torch.as_tensor(arrays[f"in/{case}"])}
    backbone = vit(img_size=size)
    report = load_backbone(backbone, saved(tmp_path / "x.pth", state))
    grid = size // 8
    assert report.transformations == [f"pos_embed resampled 4x4 -> {grid}x{grid} bicubic"]
    torch.testing.assert_close(backbone.pos_embed.data, torch.as_tensor(arrays[f"out/{case}"]), atol=1e-5, rtol=0)


def test_a_grid_of_the_same_count_but_another_shape_is_resampled(tmp_path):
    backbone = vit(img_size=(16, 64))  # 2 x 8 patches, as many as 4 x 4
    report = load_backbone(backbone, saved(tmp_path / "x.pth", official()))
    assert report.transformations == ["pos_embed resampled 4x4 -> 2x8 bicubic"]
    assert not torch.equal(backbone.pos_embed, official()["pos_embed"])


def test_half_precision_and_wrappers_are_taken_off(tmp_path):
    state = {f"module._orig_mod.{name}": tensor.half() for name, tensor in official().items()}
    backbone = vit()
    report = load_backbone(backbone, saved(tmp_path / "x.pth", state))
    taken_off = ["prefix module. taken off", "prefix _orig_mod. taken off"]
    assert report.transformations == [*taken_off, "float16 up-cast to the backbone's float32"]
    assert torch.equal(backbone.norm.weight, official()["norm.weight"].half().float())


@pytest.mark.parametrize(
    ("change", "settings", "said"),
    [
        (lambda s: s.pop("blocks.1.norm1.bias"), {}, r"1 of the backbone's 42 tensors missing \(blocks.1.norm1.bias\)"),
        (
            lambda s: s.update({"blocks.1.atn.qkv.bias": s.pop("blocks.1.attn.qkv.bias")}),
            {},
            r"missing \(blocks.1.attn.qkv.bias; nearest to the first in the file: blocks.1.atn.qkv.bias\)",
        ),
        (lambda s: s.pop("cls_token"), {}, "cls_token"),
        (lambda s: s.pop("pos_embed"), {}, "pos_embed"),
        (lambda s: s.update(surprise=torch.ones(1)), {}, r"1 unexpected \(surprise\)"),
        (lambda s: s.update({"blocks.0.extra.weight": torch.ones(1)}), {}, r"unexpected \(blocks.0.extra.weight\)"),
        (
            lambda s: s.update({"norm.weight": torch.ones(31)}),
            {},
            r"1 of another shape \(norm.weight \[31\] for \[32\]",
        ),
        (lambda s: [s.pop("norm.weight"), s.pop("norm.bias")], dict(out_type="mean"), "fc_norm.weight"),
        (lambda s: None, dict(pos_embed="none"), r"unexpected \(pos_embed\)"),
        (lambda s: None, dict(arch={**SIZE, "depth": 4}), "checkpoint is ViT width 32 depth 3 patch 8, .* depth 4"),
        (lambda s: None, dict(arch="tiny"), "the config's backbone is ViT width 192 depth 12 patch 8"),
        (lambda s: None, dict(patch_size=4), "patch 8, the config's backbone is ViT width 32 depth 3 patch 4"),
        (lambda s: s["norm.bias"].fill_(float("nan")), {}, r"not finite \(NaN or infinite\) in norm.bias"),
        (lambda s: s["blocks.2.mlp.fc1.weight"][0].fill_(float("inf")), {}, "blocks.2.mlp.fc1.weight"),
    ],
)
def test_what_does_not_fit_is_an_error_and_changes_nothing(tmp_path, change, settings, said):
    state = {name: tensor.clone() for name, tensor in official().items()}
    change(state)
    backbone = vit(**settings)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    with pytest.raises(UserError, match=said) as error:
        load_backbone(backbone, saved(tmp_path / "x.pth", state))
    assert "\n" not in str(error.value) and "x.pth" in str(error.value)
    assert same_weights(backbone, before, before) and not hasattr(backbone, "load_report")


def test_stored_heads_must_agree(tmp_path):
    state = vit(arch=dict(embed_dim=192, depth=2, num_heads=4)).state_dict()
    path = tmp_path / "x.pth"
    torch.save({"model": state, "args": argparse.Namespace(model="mae_vit_tiny_patch8")}, path)
    with pytest.raises(UserError, match="3 attention heads, the config's backbone has 4"):
        load_backbone(vit(arch=dict(embed_dim=192, depth=2, num_heads=4)), path)
    assert load_backbone(vit(arch=dict(embed_dim=192, depth=2, num_heads=3)), path).architecture.num_heads == 3


def test_no_match_names_the_known_families(tmp_path):
    other = {"layer1.0.conv1.weight": torch.ones(2), "layer1.0.bn1.weight": torch.ones(2), "fc.bias": torch.ones(2)}
    with pytest.raises(UserError, match=r"none of its 3 tensors .* known are .*mae, .*mimeval.* layer1.0.conv1.weight"):
        load_backbone(vit(), saved(tmp_path / "x.pth", other))
    with pytest.raises(UserError, match="none of the backbone's .* tensors is in the checkpoint"):
        save_file({"backbone.stem.weight": torch.ones(2)}, tmp_path / "x.safetensors")
        load_backbone(vit(), tmp_path / "x.safetensors")


def test_waivers_let_pass_what_they_name_and_are_reported(tmp_path):
    state = official()
    del state["norm.weight"], state["norm.bias"]
    state["surprise"] = torch.ones(1)
    state["blocks.0.norm1.bias"] = torch.ones(5)
    path = saved(tmp_path / "x.pth", state)
    waive = ["missing:norm.*", "unexpected:surprise", "shape:blocks.0.norm1.bias", "missing:unused.*"]
    for left_out in waive[:3]:
        with pytest.raises(UserError, match=f"--waive '{left_out.split(':')[0]}:"):
            load_backbone(vit(), path, [waiver for waiver in waive if waiver != left_out])
    backbone = vit()
    before = backbone.blocks[0].norm1.bias.clone()
    report = load_backbone(backbone, path, waive)
    assert report.waived == {
        "missing:norm.*": ["norm.weight", "norm.bias"],
        "unexpected:surprise": ["surprise"],
        "shape:blocks.0.norm1.bias": ["blocks.0.norm1.bias"],
    }
    assert torch.equal(backbone.blocks[0].norm1.bias, before) and len(report.loaded) == 39
    assert set(report.fresh) == {"norm.weight", "norm.bias", "blocks.0.norm1.bias"}
    assert str(report).count("WAIVED") == 3


def test_no_waiver_lets_an_empty_load_pass(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"backbone.stem.weight": torch.ones(2)}, path)
    with pytest.raises(UserError, match="none of the backbone's"):
        load_backbone(vit(), path, ["missing:*", "unexpected:*"])


@pytest.mark.parametrize("waiver", ["norm.*", "lacking:norm.*", "missing:", ""])
def test_a_waiver_that_is_not_understood_is_an_error(mae_file, waiver):
    with pytest.raises(UserError, match="KIND:PATTERN"):
        load_backbone(vit(), mae_file, [waiver])


@pytest.mark.parametrize("extension", ["pth", "safetensors"])
def test_own_checkpoints_of_whole_models_load(tmp_path, extension):
    source = vit(rel_pos="shared_bias", init_values=0.1)
    state = {f"backbone.{name}": tensor for name, tensor in source.state_dict().items()}
    state |= {"head.fc.weight": torch.ones(7, 32), "decoders.0.mask_token": torch.ones(1, 1, 24)}
    path = tmp_path / f"x.{extension}"
    if extension == "pth":
        torch.save({"state_dict": state, "meta": {"epoch": 1}}, path)
    else:
        save_file(state, path)
    backbone = vit(rel_pos="shared_bias", init_values=0.1)
    report = load_backbone(backbone, path)
    assert report.family == "mimeval" and report.fresh == {}
    assert same_weights(backbone, source.state_dict(), source.state_dict())
    assert set(report.left_over) == {"head.fc.weight", "decoders.0.mask_token"}


def test_a_swin_checkpoint_of_ours_loads_whole_or_not_at_all(tmp_path):
    def swin(depths=(1, 1)):
        size = dict(embed_dim=8, depths=depths, num_heads=(1, 2))
        return SwinTransformer(arch=size, img_size=32, patch_size=2, window_size=4, out_type="mean")

    source = swin()
    save_file({f"backbone.{name}": tensor for name, tensor in source.state_dict().items()}, tmp_path / "x.safetensors")
    backbone = swin()
    report = load_backbone(backbone, tmp_path / "x.safetensors")
    assert (report.fresh, report.left_over) == ({}, {}) and report.parameters == report.total_parameters
    assert same_weights(backbone, source.state_dict(), source.state_dict())
    with pytest.raises(UserError, match="Swin width 8 depths 1, 1 patch 2 window 4, the config's .* depths 1, 2"):
        load_backbone(swin(depths=(1, 2)), tmp_path / "x.safetensors")


def test_the_initialiser_is_found_in_the_scope_and_by_its_full_name(mae_file):
    backbone = vit()
    with DefaultScope.overwrite_default_scope("mimeval"):
        initialize(backbone, dict(type="Pretrained", checkpoint=str(mae_file)))
    assert backbone.load_report.family == "mae"
    backbone = vit(out_type="cls", pos_embed="none")
    with pytest.raises(UserError, match="pos_embed"):
        initialize(backbone, dict(type="mimeval.Pretrained", checkpoint=str(mae_file)))
    initialize(backbone, dict(type="mimeval.Pretrained", checkpoint=str(mae_file), waive=["unexpected:pos_embed"]))
    assert backbone.load_report.waived == {"unexpected:pos_embed": ["pos_embed"]}


@pytest.mark.parametrize("scope", [None, "mmengine", "mimeval"])
def test_a_backbones_init_cfg_is_strict_in_any_scope(mae_file, scope):
    init_cfg = dict(type="Pretrained", checkpoint=str(mae_file))
    with DefaultScope.overwrite_default_scope(scope):
        backbone = vit(init_cfg=init_cfg)
        backbone.init_weights()
        assert same_weights(backbone, official(), backbone.load_report.loaded)
        with pytest.raises(UserError, match="depth 3 patch 8, the config's backbone is ViT width 32 depth 4"):
            vit(arch={**SIZE, "depth": 4}, init_cfg=init_cfg).init_weights()


def test_the_initialiser_inside_a_model_that_records_initial_weights(mae_file):
    class Model(BaseModel):
        def __init__(self):
            super().__init__()
            self.backbone = vit(init_cfg=dict(type="Pretrained", checkpoint=str(mae_file)))

        def forward(self, inputs):
            return self.backbone(inputs)

    model = Model()
    model.init_weights()
    assert len(model.backbone.load_report.loaded) == 42
    assert same_weights(model.backbone, official(), model.backbone.load_report.loaded)


def test_the_table_reads_both_ways():
    family = MAE()
    for name in official() | {"head.weight": 0, "fc_norm.bias": 0}:
        own = family.own_name(name)
        assert own is not None and family.their_name(own) == name
    assert family.own_name("decoder_blocks.1.attn.qkv.bias") == "decoders.0.blocks.1.attn.qkv.bias"
    assert family.own_name("decoders.0.norm.weight") is None
    assert family.their_name("decoders.1.norm.weight") is None
