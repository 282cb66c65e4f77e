"""A conversion keeps tensors and features, says what it did, and refuses rather than lose something."""

import os
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mimeval.backbones import VisionTransformer
from mimeval.checkpoints import load_backbone, read_state
from mimeval.checkpoints.convert import convert
from mimeval.checkpoints.state import sha256
from mimeval.errors import UserError
from mimeval.pretrain.model import MaskedImageModel
from tests.golden import golden

from .test_load import SIZE, official, saved, vit


def test_official_file_in_same_features_out(tmp_path):
    source, target = saved(tmp_path / "mae.pth", official()), tmp_path / "ours.safetensors"
    report = convert(source, target, "mimeval")
    assert (report.family, report.tensors, report.left_out) == ("mae", len(official()), [])
    assert report.feature_difference == 0
    arrays, _ = golden("mae_pretrain")
    backbone = vit()
    load_backbone(backbone, target)
    with torch.inference_mode():
        patches, _ = backbone.embed_patches(torch.as_tensor(arrays["in/images"]))
        keep = torch.as_tensor(arrays["in/noise"]).argsort(1)[:, :4, None].expand(-1, -1, 32)
        latent = backbone.encode(patches.gather(1, keep))[-1]
    torch.testing.assert_close(latent, torch.as_tensor(arrays["out/latent"]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("first", ["pth", "safetensors"])
@pytest.mark.parametrize("second", ["pth", "safetensors"])
def test_there_and_back_is_the_same_file(tmp_path, first, second):
    source = saved(tmp_path / "mae.pth", official())
    convert(source, tmp_path / f"ours.{first}", "mimeval")
    convert(tmp_path / f"ours.{first}", tmp_path / f"again.{second}", "mae")
    again = read_state(tmp_path / f"again.{second}")
    assert again.container == ("model" if second == "pth" else "state_dict")
    assert again.state.keys() == official().keys()
    assert all(torch.equal(again.state[name], tensor) for name, tensor in official().items())


def test_names_of_the_pre_training_model(tmp_path):
    convert(saved(tmp_path / "mae.pth", official()), tmp_path / "x.pth", "mimeval")
    state = torch.load(tmp_path / "x.pth", weights_only=True)["state_dict"]
    assert {name.split(".")[0] for name in state} == {"backbone", "decoders"}
    assert torch.equal(state["decoders.0.blocks.1.mlp.fc2.bias"], official()["decoder_blocks.1.mlp.fc2.bias"])
    assert torch.equal(state["decoders.0.pos_embed"], official()["decoder_pos_embed"])


def test_the_pre_training_model_becomes_an_official_file(tmp_path):
    model = MaskedImageModel(
        backbone=dict(type="mimeval.VisionTransformer", arch=SIZE, img_size=32, patch_size=8),
        masking=dict(type="mimeval.RandomMasking", ratio=0.75),
        decoders=[dict(type="mimeval.MAEDecoder", embed_dim=24, depth=2, num_heads=4)],
        targets=[dict(type="mimeval.PixelTarget", patch_size=8)],
        loss=dict(type="mimeval.MaskedMSE"),
    )
    torch.save({"state_dict": model.state_dict(), "meta": {"epoch": 1}}, tmp_path / "epoch_1.pth")
    report = convert(tmp_path / "epoch_1.pth", tmp_path / "mae.pth", "mae")
    written = torch.load(tmp_path / "mae.pth", weights_only=True)["model"]
    assert {name: tensor.shape for name, tensor in written.items()} == {n: t.shape for n, t in official().items()}
    assert torch.equal(written["decoder_embed.weight"], model.decoders[0].embed.weight)
    assert torch.equal(written["blocks.2.attn.qkv.weight"], model.backbone.blocks[2].attn.qkv.weight)
    assert (report.architecture.decoder_dim, report.architecture.decoder_depth) == (24, 2)
    assert report.feature_difference == 0 and report.left_out == []


@pytest.mark.parametrize("case", ["pool/", "cls/"])
def test_fine_tuned_files_keep_their_norm_and_head(tmp_path, case):
    state = official("mae_finetune", case)
    report = convert(saved(tmp_path / "x.pth", state), tmp_path / "y.safetensors")
    assert report.feature_difference == 0
    ours = read_state(tmp_path / "y.safetensors").state
    assert torch.equal(ours["head.fc.weight"], state["head.weight"])
    assert ("backbone.fc_norm.weight" in ours) == (case == "pool/")


def test_the_header_says_where_it_came_from(tmp_path):
    source = tmp_path / "run.pth"
    state = {f"backbone.{name}": tensor for name, tensor in vit(img_size=(16, 24)).state_dict().items()}
    config = "model = dict(\n    backbone=dict(\n        arch=dict(depth=3, embed_dim=32, num_heads=4),\n"
    config += "        img_size=(16, 24),\n        patch_size=8))\nwork_dir = open"
    torch.save({"state_dict": state, "meta": {"cfg": config}}, source)
    report = convert(source, tmp_path / "x.safetensors")
    assert report.architecture.num_heads == 4 and report.architecture.grid == (2, 3)
    with safe_open(tmp_path / "x.safetensors", framework="pt") as file:
        header = file.metadata()
    assert header["source"] == "run.pth" and header["source_sha256"] == sha256(source)
    assert header["family"] == "mimeval" and header["tool"].startswith("mimeval ")
    assert (header["num_heads"], header["grid"], header["transformations"]) == ("4", "2x3", "none")
    # What the header says holds: another number of heads is refused, a non-square grid can be resampled.
    with pytest.raises(UserError, match="4 attention heads, the config's backbone has 2"):
        load_backbone(vit(arch=dict(embed_dim=32, depth=3, num_heads=2)), tmp_path / "x.safetensors")
    loaded = load_backbone(vit(), tmp_path / "x.safetensors")
    assert loaded.transformations == ["pos_embed resampled 2x3 -> 4x4 bicubic"]


def test_another_image_size_resamples_both_tables(tmp_path):
    source = saved(tmp_path / "mae.pth", official())
    report = convert(source, tmp_path / "x.safetensors", "mimeval", image_size=48)
    assert [note.split(" ")[0] for note in report.transformations] == ["pos_embed", "decoders.0.pos_embed"]
    assert report.architecture.image_size == (48, 48) and report.feature_difference < 1e-5
    state = read_state(tmp_path / "x.safetensors").state
    assert state["backbone.pos_embed"].shape == (1, 37, 32) and state["decoders.0.pos_embed"].shape == (1, 37, 24)
    direct, converted = vit(img_size=48), vit(img_size=48)
    load_backbone(direct, source)
    load_backbone(converted, tmp_path / "x.safetensors")
    assert torch.equal(direct.pos_embed, converted.pos_embed)
    with pytest.raises(UserError, match="--image-size 50 is no multiple of the checkpoint's patch size 8"):
        convert(source, tmp_path / "y.safetensors", image_size=50)


def test_what_mae_cannot_hold_is_refused_or_said(tmp_path):
    backbone = VisionTransformer(
        arch=dict(embed_dim=32, depth=2, num_heads=4), img_size=32, patch_size=8, rel_pos="bias"
    )
    state = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
    save_file(state, tmp_path / "bias.safetensors")
    with pytest.raises(UserError, match="no place for 2 tensors of the encoder"):
        convert(tmp_path / "bias.safetensors", tmp_path / "mae.pth", "mae")
    assert not (tmp_path / "mae.pth").exists()
    plain = {f"backbone.{name}": tensor for name, tensor in vit().state_dict().items()}
    save_file(plain | {"decoders.1.norm.weight": torch.ones(3)}, tmp_path / "two.safetensors")
    report = convert(tmp_path / "two.safetensors", tmp_path / "mae.pth", "mae")
    assert report.left_out == ["decoders.1.norm.weight"] and "left out (decoders.1.norm.weight" in str(report)


def test_an_existing_file_is_kept_without_force(tmp_path):
    source, target = saved(tmp_path / "mae.pth", official()), tmp_path / "x.pth"
    target.write_text("precious")
    with pytest.raises(UserError, match="--force"):
        convert(source, target)
    assert target.read_text() == "precious"
    convert(source, target, force=True)
    assert read_state(target).container == "state_dict"
    convert(target, target, "mae", force=True)  # onto itself: read in full before it is written
    assert read_state(target).container == "model"


@pytest.mark.parametrize("name", ["x.bin", "x", "x.pth.tar"])
def test_an_unknown_extension_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=".pth or .safetensors"):
        convert(saved(tmp_path / "mae.pth", official()), tmp_path / name)
    assert os.listdir(tmp_path) == ["mae.pth"]


@pytest.mark.parametrize(
    "settings",
    [
        dict(init_values=0.1),
        dict(rel_pos="bias", pos_embed="none", k_bias=False),
        dict(registers=2),
        dict(class_token=False),
        dict(mlp="swiglu", arch=dict(SIZE, mlp_ratio=5.5)),
        dict(out_type="maps", rel_pos="decomposed", window_size=2, global_blocks=(2,)),
        dict(out_type="tokens", taps=(0, 2), tap_norm=True),
    ],
    ids=lambda settings: "-".join(settings),
)
def test_unusual_encoders_are_compared_too(tmp_path, settings):
    state = {f"backbone.{name}": tensor for name, tensor in vit(**settings).state_dict().items()}
    save_file(state, tmp_path / "x.safetensors")
    report = convert(tmp_path / "x.safetensors", tmp_path / "y.pth")
    assert report.feature_difference == 0 and report.left_out == []
    assert all(torch.equal(read_state(tmp_path / "y.pth").state[name], tensor) for name, tensor in state.items())


def test_a_wrong_result_does_not_stay(tmp_path, monkeypatch):
    source, target = saved(tmp_path / "mae.pth", official()), tmp_path / "x.safetensors"
    convert(source, target)
    before = target.read_bytes()

    def corrupt(path, state, meta, written):
        save_file({name: tensor + 1 for name, tensor in state.items()}, path)

    monkeypatch.setattr(sys.modules[convert.__module__], "save_safetensors", corrupt)
    with pytest.raises(RuntimeError, match="x.safetensors: read back, .* differ from what was written"):
        convert(source, target, force=True)
    # The file that was to be replaced is the one from before, and nothing else is there.
    assert target.read_bytes() == before and sorted(path.name for path in tmp_path.iterdir()) == [
        "mae.pth",
        target.name,
    ]


def test_ctrl_c_while_it_is_checked_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules[convert.__module__].libraries, "verify", interrupt)
    with pytest.raises(KeyboardInterrupt):
        convert(saved(tmp_path / "mae.pth", official()), tmp_path / "x.pth", "timm")
    assert [path.name for path in tmp_path.iterdir()] == ["mae.pth"]


@pytest.mark.parametrize("extension", ["pth", "safetensors"])
def test_how_a_run_trained_survives_conversion(tmp_path, extension):
    training = {"config": "emae_demo.py", "images_seen": 96, "wall_s": 1.5}
    source = tmp_path / "epoch_1.pth"
    backbone = VisionTransformer(dict(embed_dim=32, depth=2, num_heads=2), img_size=16, patch_size=8)
    state = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    torch.save({"state_dict": state, "meta": {"training": training, "epoch": 1, "seed": 7}}, source)
    convert(source, tmp_path / f"out.{extension}")
    assert read_state(tmp_path / f"out.{extension}").training == {"seed": 7, **training}
