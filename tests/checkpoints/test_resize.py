"""A conversion to another image size or other windows gives what the strict loader makes of the source at that size."""

import pytest
import torch

from mimeval.backbones import SwinTransformer, VisionTransformer
from mimeval.checkpoints import load_backbone, read_state
from mimeval.checkpoints.convert import convert
from mimeval.cli.main import main
from mimeval.errors import UserError

SWIN = dict(embed_dim=16, depths=(2, 1), num_heads=(2, 4))
VIT = dict(embed_dim=32, depth=2, num_heads=4)


def swin(side, window):
    return SwinTransformer(arch=SWIN, img_size=side, patch_size=4, window_size=window, out_type="mean")


def vit(**changes):
    return VisionTransformer(**{"arch": VIT, "img_size": 32, "patch_size": 8, **changes})


def saved(path, backbone, **beside):
    torch.manual_seed(0)
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    state = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()} | beside
    torch.save({"state_dict": state}, path)
    return path


@pytest.mark.parametrize("to", ["mimeval", "timm", "mmseg"])
def test_the_windows_of_a_swin(tmp_path, to):
    source = saved(tmp_path / "swin.pth", swin(48, 6))
    report = convert(source, tmp_path / "x.safetensors", to, image_size=64, window=8)
    assert report.transformations[0] == "tables of windows (3) resampled 6x6 -> 8x8 bicubic"
    assert report.architecture.windows == (8, 8) and report.architecture.image_size == (64, 64)
    assert report.feature_difference < 1e-5
    direct, converted = swin(64, 8), swin(64, 8)
    load_backbone(direct, source)
    load_backbone(converted, tmp_path / "x.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(direct.parameters(), converted.parameters(), strict=True))
    table = converted.layers[0].blocks[0].attn.relative_position_bias_table
    assert table.shape == (15 * 15, 2)


def test_a_stage_has_no_window_larger_than_its_map(tmp_path):
    source = saved(tmp_path / "swin.pth", swin(48, 6))
    report = convert(source, tmp_path / "x.safetensors", window=8)
    assert report.architecture.windows == (8, 6) and report.feature_difference < 1e-5
    # mmpretrain has one size for all stages.
    with pytest.raises(UserError, match="tables are of windows of 6, 8, and this format has one size"):
        convert(source, tmp_path / "y.pth", "mmpretrain", window=8)
    assert not (tmp_path / "y.pth").exists()


@pytest.mark.parametrize("kind", ["bias", "shared_bias"])
def test_relative_biases_of_a_vit(tmp_path, kind):
    source = saved(tmp_path / "beit.pth", vit(rel_pos=kind, pos_embed="none"))
    report = convert(source, tmp_path / "x.safetensors", image_size=48)
    tables = 2 if kind == "bias" else 1
    assert report.transformations == [f"relative biases ({tables}) resampled 4x4 -> 6x6 bicubic"]
    direct, converted = (vit(rel_pos=kind, pos_embed="none", img_size=48) for _ in range(2))
    load_backbone(direct, source)
    load_backbone(converted, tmp_path / "x.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(direct.parameters(), converted.parameters(), strict=True))


def test_windows_of_a_vit(tmp_path):
    facts = dict(rel_pos="decomposed", rel_pos_size=32, window_size=2, global_blocks=(1,), out_type="maps")
    source = saved(tmp_path / "vitdet.pth", vit(**facts))
    report = convert(source, tmp_path / "x.safetensors", window=3)
    assert report.transformations == ["decomposed relative positions of 2 tables resampled, linear"]
    assert report.architecture.window_size == 3
    state = read_state(tmp_path / "x.safetensors").state
    assert [len(state[f"backbone.blocks.{block}.attn.rel_pos_h"]) for block in (0, 1)] == [5, 7]


def test_positions_of_every_decoder(tmp_path):
    positions = torch.randn(1, 17, 24)
    beside = {f"decoders.{scale}.pos_embed": positions for scale in range(3)} | {
        "decoders.3.pos_embed": positions[:, :5]
    }
    source = saved(tmp_path / "x.pth", vit(), **beside)
    report = convert(source, tmp_path / "x.safetensors", image_size=64)
    state = read_state(tmp_path / "x.safetensors").state
    assert [state[f"decoders.{scale}.pos_embed"].shape[1] for scale in range(4)] == [65, 65, 65, 5]
    assert report.transformations[1:] == [
        f"decoders.{scale}.pos_embed resampled 4x4 -> 8x8 bicubic" for scale in range(3)
    ]


def test_the_size_that_it_has_changes_nothing(tmp_path):
    source = saved(tmp_path / "swin.pth", swin(48, 6))
    report = convert(source, tmp_path / "x.safetensors", image_size=48, window=6)
    assert report.transformations == []


@pytest.mark.parametrize(
    ("build", "arguments", "says"),
    [
        (vit, ["--window", "3"], "expected windows for --window, found ViT width 32 depth 2 patch 8, which has none"),
        (vit, ["--image-size", "50"], "--image-size 50 is no multiple of the checkpoint's patch size 8"),
        (lambda: swin(48, 6), ["--window", "0"], "--window 0: expected tokens to a side, 1 or more"),
    ],
)
def test_what_does_not_fit(tmp_path, capsys, build, arguments, says):
    source = saved(tmp_path / "x.pth", build())
    assert main(["convert", str(source), str(tmp_path / "y.pth"), *arguments]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "y.pth").exists()


def test_patches_of_another_size_keep_the_grid_and_its_positions(tmp_path):
    source = saved(tmp_path / "vit.pth", vit(), **{"decoders.0.pred.weight": torch.ones(3, 3)})
    assert main(["convert", str(source), str(tmp_path / "x.safetensors"), "--patch-size", "16"]) == 0
    small, large = load_backbone(source, num_heads=4), load_backbone(tmp_path / "x.safetensors", num_heads=4)
    assert (large.patch_size, large.grid) == (16, small.grid) and torch.equal(large.pos_embed, small.pos_embed)
    expected = torch.nn.functional.interpolate(small.patch_embed.proj.weight, size=(16, 16), mode="bicubic")
    assert torch.equal(large.patch_embed.proj.weight, expected)
    assert not any(name.startswith("decoders.") for name in read_state(tmp_path / "x.safetensors").state)


def test_patches_are_resized_of_a_vit_alone(tmp_path):
    source = saved(tmp_path / "swin.pth", swin(48, 6))
    with pytest.raises(UserError, match="expected the patches of a ViT for --patch-size 8, found Swin"):
        convert(source, tmp_path / "x.pth", patch_size=8)
    with pytest.raises(UserError, match="--patch-size 0: expected pixels to a side, 1 or more"):
        convert(saved(tmp_path / "vit.pth", vit()), tmp_path / "x.pth", patch_size=0)
    report = convert(tmp_path / "vit.pth", tmp_path / "x.pth", "timm", patch_size=16, num_heads=4)
    assert report.feature_difference == 0 and report.verification.startswith("verified with timm")
