"""EVA-02: what its golden files, its published sizes and timm's files need beyond every other family."""

import pytest
import timm
import torch

from mimeval.backbones import VisionTransformer
from mimeval.backbones.rotary import Rotation
from mimeval.checkpoints import convert, load_backbone, read_state
from mimeval.checkpoints.formats import recognise
from mimeval.cli.main import main
from mimeval.errors import UserError
from tests.checkpoints.families import family_content, family_file, tensors
from tests.checkpoints.made_files import timm_vit
from tests.checkpoints.test_official_features import EVAS, TOLERANCE, equal, tokens_of

SETTINGS = dict(
    arch=dict(embed_dim=32, depth=3, num_heads=2, mlp_ratio=170.5 / 32),
    img_size=64,
    patch_size=16,
    k_bias=False,
    mlp="swiglu_norm",
)


@pytest.mark.parametrize("size", ["", "_large"])
@pytest.mark.parametrize("name", EVAS)
def test_fine_tuning_starts_as_its_official_loader_leaves_it(tmp_path, name, size):
    images, outputs = tensors(name, "in/")[f"images{size}"], tensors(name, "out/")
    backbone = load_backbone(family_file(name, tmp_path), out_type="mean", img_size=images.shape[-1])
    assert set(backbone.load_report.fresh) == {"fc_norm.weight", "fc_norm.bias"}
    equal(tokens_of(backbone, images), outputs[f"finetune_tokens{size}"], TOLERANCE[name])
    if size:
        equal(backbone.pos_embed, outputs["resampled/pos_embed"], 1e-6)
        cos, sin, _ = backbone.rotation(backbone.grid)
        equal(cos, outputs["resampled/rope.freqs_cos"], 1e-6)
        equal(sin, outputs["resampled/rope.freqs_sin"], 1e-6)


@pytest.mark.parametrize("name", EVAS)
def test_heads_and_the_trained_grid_come_from_the_rotations_buffers(tmp_path, name):
    architecture = recognise(read_state(family_file(name, tmp_path))).architecture
    facts = tensors(name, "state/")
    assert architecture.num_heads == facts["cls_token"].shape[-1] // facts["rope.freqs_cos"].shape[1]
    assert (architecture.heads_are_stored, architecture.rel_pos_grid) == (True, architecture.grid)


def test_a_file_tuned_at_another_size_keeps_the_trained_grid(tmp_path):
    """As the published ones of 336 and 448 pixels: tables for every place of a finer grid, angles of the 16 x 16 of 224."""
    content = family_content("family_eva02")
    images, expected = tensors("family_eva02", "in/")["images_large"], tensors("family_eva02", "out/")["tokens_large"]
    at_96 = load_backbone(family_file("family_eva02", tmp_path), img_size=96)
    cos, sin, _ = Rotation((4, 4), 16)((6, 6))
    content["model"]["pos_embed"] = at_96.pos_embed.detach()
    for name in content["model"]:
        if "rope.freqs" in name:
            content["model"][name] = cos if name.endswith("cos") else sin
    torch.save(content, tmp_path / "tuned.pt")
    assert main(["convert", str(tmp_path / "tuned.pt"), str(tmp_path / "ours.safetensors")]) == 0
    for file in (tmp_path / "tuned.pt", tmp_path / "ours.safetensors"):
        backbone = load_backbone(file)
        assert (backbone.grid, backbone.rotation.grid.tolist()) == ((6, 6), [4, 4])
        equal(tokens_of(backbone, images), expected, 2e-5)
    # timm's files do not say it, and its class would compute other features.
    with pytest.raises(UserError, match="counts on 4x4 places, which files of this format do not say; expected 6x6"):
        convert(tmp_path / "ours.safetensors", tmp_path / "timm.pth", "timm_eva02")
    assert not (tmp_path / "timm.pth").exists()


def test_an_official_file_goes_to_timm_and_gives_the_same_features(tmp_path):
    for name in EVAS:
        path = family_file(name, tmp_path)
        report = convert(path, tmp_path / f"{name}.safetensors", "timm")
        assert (report.to, report.feature_difference) == ("timm_eva02", 0)
        assert report.verification.startswith("verified with timm") and report.verification_difference <= 1e-5
        heads = {"num_heads": recognise(read_state(path)).architecture.num_heads}
        images, outputs = tensors(name, "in/")["images"], tensors(name, "out/")
        again = load_backbone(tmp_path / f"{name}.safetensors", **heads)
        equal(tokens_of(again, images), outputs["tokens"], TOLERANCE[name])


def test_published_models_of_timm_count_on_16_places_whatever_their_size(tmp_path):
    for size, grid in ((224, 16), (336, 24)):
        model = timm.create_model(f"eva02_tiny_patch14_{size}", depth=1)
        torch.save(model.state_dict(), tmp_path / "timm.pth")
        backbone = load_backbone(tmp_path / "timm.pth")
        assert (backbone.grid, backbone.rotation.grid.tolist()) == ((grid, grid), [16, 16])
        images = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            # Its head is at the mean of the patches, whose norm it keeps under another name.
            equal(backbone(images)[0], model.eval().forward_head(model.forward_features(images), pre_logits=True), 1e-5)


@pytest.mark.parametrize("to", ["mae", "timm_vit", "beit", "mmpretrain_beit", "hf_vit"])
def test_no_layout_takes_a_rotated_encoder_as_one_that_is_not(tmp_path, to):
    with pytest.raises(UserError, match=f"{to}|rotat"):
        convert(family_file("family_eva02_preln", tmp_path), tmp_path / "x.pth", to)
    assert not (tmp_path / "x.pth").exists()


def test_timms_layout_of_eva02_takes_no_encoder_that_is_not_rotated(tmp_path):
    with pytest.raises(UserError, match="queries and keys are not rotated by position"):
        convert(timm_vit(tmp_path).path, tmp_path / "x.pth", "timm_eva02", num_heads=4)


def test_a_config_must_rotate_as_the_file_does(tmp_path):
    path = family_file("family_eva02", tmp_path)
    with pytest.raises(
        UserError, match=r"with normed SwiGLU and rotary positions, .* set the config's rel_pos='rotary'\.$"
    ):
        load_backbone(VisionTransformer(**SETTINGS), path)
    with pytest.raises(UserError, match=r"set the config's mlp='swiglu_norm' and rel_pos='rotary'\.$"):
        load_backbone(VisionTransformer(**{**SETTINGS, "mlp": "gelu"}), path)
    rotated = VisionTransformer(**SETTINGS, rel_pos="rotary", rel_pos_size=128)
    load_backbone(rotated, path)
    assert rotated.rotation.grid.tolist() == [4, 4]  # of the file, whatever the config says
    plain = {key: value for key, value in rotated.state_dict().items() if key != "rotation.grid"}
    torch.save({f"backbone.{key}": value for key, value in plain.items()}, tmp_path / "plain.pth")
    with pytest.raises(UserError, match=r"set the config's rel_pos='none'\.$"):
        load_backbone(rotated, tmp_path / "plain.pth")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict.fromkeys(["rope.freqs_cos"], torch.zeros(16, 16)), "its rotation turns by"),
        (
            dict.fromkeys(["rope.freqs_cos", "rope.freqs_sin"], torch.ones(5, 16)),
            r"tables \[5, 16\], expected 16 places",
        ),
        ({"pos_embed": torch.zeros(1, 14, 32)}, "its positions are on no square grid"),
    ],
)
def test_buffers_that_are_no_rotation_are_refused(tmp_path, change, said):
    content = family_content("family_eva02")
    content["model"].update(change)
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError, match=rf"x.pth \(family eva02\): .*{said}"):
        load_backbone(tmp_path / "x.pth")
