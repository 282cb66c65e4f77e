"""Every family's file goes in through the command line and gives the features that official code computes."""

import pytest
import torch

from mimeval.checkpoints import load_backbone, read_state
from mimeval.checkpoints.convert import convert
from mimeval.checkpoints.formats import families_of, recognise
from mimeval.checkpoints.formats.base import IMAGENET_MEAN, IMAGENET_STD
from mimeval.checkpoints.formats.localmim import LocalMIM, LocalMIMSwin
from mimeval.checkpoints.formats.simmim import SimMIM
from mimeval.checkpoints.settings import backbone_settings
from mimeval.errors import UserError
from mimeval.pretrain.masks import Masks
from mimeval.pretrain.model import MaskedImageModel
from mimeval.registry import MODELS
from tests.checkpoints.families import FILES, family_content, family_file, heads, tensors


def close(ours, theirs, tolerance):
    error = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    assert error <= tolerance, f"off by {error:.1e} of the largest entry"


@pytest.mark.parametrize("name", FILES)
def test_exactly_one_family_knows_the_file(tmp_path, name):
    checkpoint = read_state(family_file(name, tmp_path))
    family = FILES[name][0]
    assert [known.name for known, _ in families_of(checkpoint)] == [family]
    assert recognise(checkpoint).family.name == family


@pytest.mark.parametrize("name", FILES)
def test_a_backbone_comes_from_the_file_alone_and_takes_all_of_the_encoder(tmp_path, name):
    path = family_file(name, tmp_path)
    backbone = load_backbone(path, **heads(name))
    report = backbone.load_report
    assert (report.family, report.fresh, report.waived) == (FILES[name][0], {}, {})
    assert report.parameters == report.total_parameters and not backbone.training
    reasons = set(report.left_over.values()) - {"a classifier"}
    assert all("pre-training only" in reason or "norms of taps" in reason for reason in reasons), reasons
    found = recognise(read_state(path))
    left = {name for name in found.encoder if found.origin.get(f"backbone.{name}") in report.left_over}
    assert all(name.startswith("tap_norms.") for name in left), left


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        *((name, "safetensors") for name in FILES),
        *((name, "pth") for name in ("mae_pretrain", "simmim_swin", "family_beit")),
    ],
)
def test_it_converts_and_comes_back(tmp_path, name, extension):
    path = family_file(name, tmp_path)
    report = convert(path, tmp_path / f"ours.{extension}", **heads(name))
    assert report.feature_difference == 0
    direct = load_backbone(path, **heads(name))
    ours = load_backbone(tmp_path / f"ours.{extension}")
    assert str(ours.load_report.architecture) == str(direct.load_report.architecture)
    images = torch.randn(1, 3, *direct.load_report.architecture.image_size)
    with torch.inference_mode():
        assert torch.equal(direct(images)[0], ours(images)[0])
    if (family := FILES[name][2]) is None:
        return
    back = convert(tmp_path / f"ours.{extension}", tmp_path / "back.pth", family)
    assert back.left_out == []
    again, source = read_state(tmp_path / "back.pth").state, read_state(path).state
    assert again.keys() == source.keys() and all(torch.equal(again[key], source[key]) for key in source)


def test_every_name_of_a_writable_family_reads_both_ways(tmp_path):
    for family, name in ((SimMIM(), "simmim_vit"), (SimMIM(), "simmim_swin")):
        own, _, _ = family.read(tensors(name, "state/"))
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


def test_another_epsilon_is_said(tmp_path):
    swin = load_backbone(family_file("localmim_swin", tmp_path), norm_eps=1e-5)
    note = "epsilon of LayerNorm is 1e-05 in the backbone, 1e-06 in pre-training"
    assert note in swin.load_report.transformations
    assert not any("epsilon" in said for said in load_backbone(swin.load_report.path).load_report.transformations)


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


@pytest.mark.parametrize("name", FILES)
def test_a_tensor_of_the_encoder_too_few_or_too_many_is_an_error(tmp_path, name):
    found = recognise(read_state(family_file(name, tmp_path)))
    own = next(key for key in found.own if key.startswith("backbone.") and key.endswith("blocks.0.norm1.bias"))
    wanted = found.origin[own]
    for change, said in ((dict.pop, r"1 of the backbone's \d+ tensors missing"), (surprise, "1 unexpected")):
        content = family_content(name)
        state = content.get(found.container, content)
        change(state, next(key for key in state if key.endswith(wanted)))
        torch.save(content, tmp_path / "x.pth")
        with pytest.raises(UserError, match=said):
            load_backbone(tmp_path / "x.pth", **heads(name))


def surprise(state, key):
    state[key.replace("norm1.bias", "surprise")] = torch.ones(1)


def test_maskfeat_gives_official_features(tmp_path):
    path, inputs, outputs = (
        family_file("family_maskfeat", tmp_path),
        tensors("family_maskfeat", "in/"),
        tensors("family_maskfeat", "out/"),
    )
    convert(path, tmp_path / "ours.safetensors", num_heads=2)
    for file in (path, tmp_path / "ours.safetensors"):
        backbone = load_backbone(file, num_heads=2)
        seen = []
        for block in backbone.blocks:
            block.register_forward_hook(lambda module, given, output, seen=seen: seen.append(output))
        with torch.inference_mode():
            torch.testing.assert_close(backbone(inputs["images"])[0], outputs["tokens"], atol=5e-6, rtol=0)
        for number, output in enumerate(seen):
            torch.testing.assert_close(output, outputs[f"block_{number}"], atol=5e-6, rtol=0)
    # Our own model with its mask token and head, from all of the file.
    found = recognise(read_state(path))
    model = MaskedImageModel(
        backbone=dict(
            type="mimeval.VisionTransformer",
            arch=dict(embed_dim=16, depth=3, num_heads=2),
            img_size=64,
            pos_embed="learned",
        ),
        masking=dict(type="mimeval.BlockMasking", patches=6, min_patches=2),
        encoding=dict(type="mimeval.SubstitutedTokens"),
        decoders=[dict(type="mimeval.LinearDecoder")],
        targets=[dict(type="mimeval.HOGTarget", cell=8, nbins=9, patch_size=16)],
        loss=dict(type="mimeval.MaskedMSE"),
    )
    model.load_state_dict(found.own, strict=True)
    hidden = inputs["mask"].flatten(1)[:, None].float()
    masks = Masks.from_mask(hidden, (4, 4))
    with torch.inference_mode():
        torch.testing.assert_close(
            model.encode(inputs["images"], masks)[0], outputs["tokens_masked"], atol=5e-6, rtol=0
        )
        predicted = model.predict(inputs["images"], masks)[0][:, 0][inputs["mask"].flatten(1).bool()]
    torch.testing.assert_close(predicted, outputs["predictions"], atol=5e-6, rtol=0)


def test_an_mvit_is_refused_by_name(tmp_path):
    names = ("cls_token", "blocks.0.attn.qkv.weight", "blocks.0.attn.pool_q.weight", "pred_head.projections.0.weight")
    torch.save({"model_state": {name: torch.zeros(2, 2) for name in names}}, tmp_path / "mvit.pyth")
    with pytest.raises(UserError, match=r"mvit.pyth \(family mvit\): an MViT of SlowFast"):
        load_backbone(tmp_path / "mvit.pyth")


def test_a_tokenizer_never_enters_the_backbone(tmp_path):
    state = tensors("mae_pretrain", "state/")
    # As ClusterMIM writes it: the frozen tokenizer has the names of a ViT, too.
    tokenizer = {f"tokenizer.{name}": torch.full_like(tensor, 7.0) for name, tensor in state.items()}
    torch.save({"model": state | tokenizer}, tmp_path / "clustermim.pth")
    assert [family.name for family, _ in families_of(read_state(tmp_path / "clustermim.pth"))] == ["clustermim"]
    backbone = load_backbone(tmp_path / "clustermim.pth", num_heads=4)
    assert all(torch.equal(tensor, state[name]) for name, tensor in backbone.state_dict().items())
    assert set(tokenizer) < set(backbone.load_report.left_over)
    report = convert(tmp_path / "clustermim.pth", tmp_path / "ours.safetensors")
    assert set(report.left_out) == set(tokenizer) and report.feature_difference == 0


def test_localmim_swin_goes_into_our_model_whole(tmp_path):
    """The permuted encoder on visible tokens gives the official taps: the order of patch merging is right."""
    inputs, outputs = tensors("localmim_swin", "in/"), tensors("localmim_swin", "out/")
    found = recognise(read_state(family_file("localmim_swin", tmp_path)))
    settings = dict(backbone_settings(found.architecture), out_type="maps")
    backbone = MODELS.build(settings).eval()
    encoding = MODELS.build(dict(type="mimeval.SparseWindows", backbone=backbone, misplaced=True))
    backbone.load_state_dict(found.encoder, strict=True)
    encoding.load_state_dict(
        {n.removeprefix("encoding."): t for n, t in found.own.items() if n.startswith("encoding.")}
    )
    hidden = (inputs["perm"] <= 36).float().view(1, 1, 49)
    with torch.inference_mode():
        latents = encoding(backbone, inputs["images"], Masks.from_mask(hidden, (7, 7)))
    visible = (hidden[0, 0] == 0).nonzero().flatten()
    for level, latent in enumerate(latents):
        side = (28, 14, 7, 7)[level] // 7
        # Ours are in raster order of the map, theirs cell by cell.
        rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        places = [(((cell // 7) * side + rows) * 7 * side + (cell % 7) * side + columns).flatten() for cell in visible]
        order = torch.cat(places).argsort()
        close(latent, outputs[f"latent{level}"][:, order], 5e-6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "model = dict(data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[51.0, 51.0, 51.0]))",
            ((0.5,) * 3, (0.2,) * 3),
        ),
        (
            "data_preprocessor = dict(mean=[51.0, 51.0, 51.0], std=[255, 255, 255], second_mean=[1, 1, 1])",
            ((0.2,) * 3, (1.0,) * 3),
        ),
        ("model = dict(data_preprocessor=dict(mean=[127.5], std=[127.5]))", (IMAGENET_MEAN, IMAGENET_STD)),
        ("model = dict(data_preprocessor=dict(mean='x', std=None))", (IMAGENET_MEAN, IMAGENET_STD)),
        ("model = 3", (IMAGENET_MEAN, IMAGENET_STD)),
        ("not python (", (IMAGENET_MEAN, IMAGENET_STD)),
    ],
)
def test_the_images_normalisation_is_a_runners(tmp_path, text, expected):
    """mmpretrain's own BEiT was trained with ImageNet's values, unilm's with 0.5, and both have mmpretrain's names."""
    own = load_backbone(family_file("mae_pretrain", tmp_path), num_heads=4).state_dict()
    state = {f"backbone.{name}": tensor for name, tensor in own.items()}
    torch.save({"state_dict": state, "meta": {"cfg": text}}, tmp_path / "epoch.pth")
    found = recognise(read_state(tmp_path / "epoch.pth"))
    assert (found.family.name, found.normalisation) == ("mimeval", expected)
