"""Every family's file goes in through the command line and gives the features that official code computes."""

import pytest
import torch

from mimeval.checkpoints import load_backbone, read_state
from mimeval.checkpoints.convert import convert
from mimeval.checkpoints.formats import families_of, recognise
from mimeval.checkpoints.formats.localmim import LocalMIM, LocalMIMSwin
from mimeval.checkpoints.formats.simmim import SimMIM
from mimeval.errors import UserError
from tests.checkpoints.families import family_file, tensors

# golden file: family, heads (where the shapes do not tell), whether it can be written back
FILES = {
    "mae_pretrain": ("mae", 4, True),
    "simmim_vit": ("simmim", None, True),
    "simmim_swin": ("simmim", None, True),
    "localmim_vit": ("localmim", 4, False),
    "localmim_swin": ("localmim_swin", None, False),
    "localmim_swin_hog": ("localmim_swin", None, False),
}


def close(ours, theirs, tolerance):
    error = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    assert error <= tolerance, f"off by {error:.1e} of the largest entry"


@pytest.mark.parametrize("name", FILES)
def test_exactly_one_family_knows_the_file(tmp_path, name):
    checkpoint = read_state(family_file(name, tmp_path))
    assert [family.name for family, _ in families_of(checkpoint)] == [FILES[name][0]]
    assert recognise(checkpoint).family.name == FILES[name][0]


@pytest.mark.parametrize("name", FILES)
def test_a_backbone_comes_from_the_file_alone_and_takes_all_of_the_encoder(tmp_path, name):
    family, heads, _ = FILES[name]
    path = family_file(name, tmp_path)
    backbone = load_backbone(path, **({} if heads is None else {"num_heads": heads}))
    report = backbone.load_report
    assert (report.family, report.fresh, report.waived) == (family, {}, {})
    assert report.parameters == report.total_parameters and not backbone.training
    reasons = set(report.left_over.values())
    assert all("pre-training only" in reason or "norms of taps" in reason for reason in reasons), reasons


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("extension", ["pth", "safetensors"])
def test_it_converts_and_comes_back(tmp_path, name, extension):
    family, heads, writable = FILES[name]
    path = family_file(name, tmp_path)
    report = convert(path, tmp_path / f"ours.{extension}", num_heads=heads)
    assert report.feature_difference == 0
    direct = load_backbone(path, **({} if heads is None else {"num_heads": heads}))
    ours = load_backbone(tmp_path / f"ours.{extension}")
    assert str(ours.load_report.architecture) == str(direct.load_report.architecture)
    images = torch.randn(1, 3, *direct.load_report.architecture.image_size)
    with torch.inference_mode():
        assert torch.equal(direct(images)[0], ours(images)[0])
    if not writable:
        return
    back = convert(tmp_path / f"ours.{extension}", tmp_path / "back.pth", family)
    assert back.left_out == []
    again, source = read_state(tmp_path / "back.pth").state, read_state(path).state
    assert again.keys() == source.keys() and all(torch.equal(again[key], source[key]) for key in source)


def test_every_name_of_a_writable_family_reads_both_ways(tmp_path):
    for family, name in ((SimMIM(), "simmim_vit"), (SimMIM(), "simmim_swin")):
        own, _, _ = family.read(tensors(name, "state/"), {})
        again, homeless = family.write(own)
        assert homeless == [] and again.keys() == tensors(name, "state/").keys()


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_simmim_gives_official_features(tmp_path, kind):
    name = f"simmim_{kind}"
    path, inputs, outputs = family_file(name, tmp_path), tensors(name, "in/"), tensors(name, "out/")
    backbone = load_backbone(path)
    token = read_state(path).state["encoder.mask_token"]
    with torch.inference_mode():
        patches, grid = backbone.embed_patches(inputs["images"])
        hidden = inputs["mask"].flatten(1).bool()[..., None]
        tokens = backbone.encode(torch.where(hidden, token, patches), grid=grid)[0]
    h, w = outputs["features"].shape[-2:]
    close(tokens[:, -h * w :].transpose(1, 2).unflatten(2, (h, w)), outputs["features"], 5e-6)


def test_localmim_gives_official_features_of_the_last_tap(tmp_path):
    inputs, outputs = tensors("localmim_vit", "in/"), tensors("localmim_vit", "out/")
    backbone = load_backbone(family_file("localmim_vit", tmp_path), num_heads=4)
    assert "tap_norms.3, of the last block, taken for norm" in str(backbone.load_report)
    with torch.inference_mode():
        patches, _ = backbone.embed_patches(inputs["images"])
        keep = inputs["noise"].argsort(1)[:, :49, None].expand(-1, -1, 32)
        tokens = backbone.encode(patches.gather(1, keep))[0]
    close(tokens, outputs["latent3"], 5e-6)


def test_localmim_fine_tuning_starts_a_new_norm_as_officially(tmp_path):
    vit = load_backbone(family_file("localmim_vit", tmp_path), num_heads=4, out_type="mean")
    assert set(vit.load_report.fresh) == {"fc_norm.weight", "fc_norm.bias"}
    swin = load_backbone(family_file("localmim_swin", tmp_path), norm_after_pool=True)
    assert set(swin.load_report.fresh) == {"norm.weight", "norm.bias"}
    maps = load_backbone(family_file("localmim_vit", tmp_path), num_heads=4, out_type="maps", taps=(1, 3, 5, 7))
    assert maps.load_report.fresh == {}


def test_patch_merging_is_permuted_but_for_the_named_switch(tmp_path):
    path = family_file("localmim_swin", tmp_path)
    ours, stored = load_backbone(path), load_backbone(path, switches=["merging=as_stored"])
    official = read_state(path).state["encoder.layers.0.downsample.reduction.weight"]
    assert torch.equal(stored.layers[1].downsample.reduction.weight, official)
    quarters = official.chunk(4, dim=1)
    expected = torch.cat([quarters[i] for i in (0, 2, 1, 3)], dim=1)
    assert torch.equal(ours.layers[1].downsample.reduction.weight, expected)
    assert "patch merging of 3 stages put into timm's order" in ours.load_report.transformations
    assert stored.load_report.transformations[0] == "merging=as_stored, as asked"
    with pytest.raises(UserError, match="no switch merging=timm; choose from .*merging=swin or as_stored"):
        load_backbone(path, switches=["merging=timm"])


@pytest.mark.parametrize("family", [LocalMIM(), LocalMIMSwin()])
def test_what_cannot_be_written_back_is_not_offered(family):
    assert not family.writable
