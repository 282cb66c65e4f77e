"""Files of timm, transformers, mmpretrain, mmseg and ViTDet: known by one family each, their classes' features, there and back."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from mimeval.checkpoints import load_backbone, read_state
from mimeval.checkpoints.formats import families_of, family_named, recognise
from mimeval.cli.main import main
from tests.checkpoints.families import family_file, tensors
from tests.checkpoints.made_files import MAKERS, difference, numbered, saved, timm_swin
from tests.checkpoints.three_models import features_in_three_models

TOLERANCE = 1e-5
# golden file: family, key in the file, what its shapes do not tell, tolerances of outputs and tables (golden/README.md)
GOLDEN = {
    "family_vitdet_d2": ("vitdet", "model", dict(window_size=4, global_blocks=(1, 3))),
    "family_vitdet_mmdet": ("vitdet_mmdet", "state_dict", dict(window_size=4, global_blocks=(2, 3))),
    "family_mmseg_mae": ("mmseg_mae", "state_dict", dict(taps=(0, 1, 2, 3))),
    "family_mmseg_beit": ("mmseg_beit", "state_dict", dict(taps=(0, 1, 2, 3))),
}


@pytest.fixture(scope="module", params=MAKERS, ids=lambda maker: maker.__name__)
def made(request, tmp_path_factory):
    """A file of a library's own class, the class's features, and the family that it belongs to."""
    return request.param(tmp_path_factory.mktemp(request.param.__name__)), MAKERS[request.param]


def test_one_family_knows_the_file(made):
    file, family = made
    checkpoint = read_state(file.path)
    assert [known.name for known, _ in families_of(checkpoint)] == [family]


def test_features_are_those_of_the_librarys_class_at_both_sizes(made):
    file, family = made
    backbone = load_backbone(file.path, **file.settings)
    report = backbone.load_report
    assert (report.family, report.fresh, report.waived) == (family, {}, {})
    assert report.parameters == report.total_parameters
    for size in filter(None, (file.image, file.other)):
        images = numbered(2, *size)
        with torch.inference_mode():
            assert difference(backbone(images), file.features(images)) <= TOLERANCE


def test_there_and_back_on_the_command_line_is_the_same_file(made, tmp_path, capsys):
    """By the name of the library, which chooses this layout."""
    file, family = made
    if not family_named(family).writable:
        pytest.skip("this layout is read only")
    heads = [text for text in ("--num-heads", str(file.settings.get("num_heads"))) if "num_heads" in file.settings]
    ours, back = str(tmp_path / "ours.safetensors"), str(tmp_path / "back.pth")
    assert main(["convert", str(file.path), ours, *heads]) == 0
    assert main(["convert", ours, back, "--to", family.split("_")[0]]) == 0
    said = capsys.readouterr().out
    assert f"({family} -> mimeval)" in said and f"(mimeval -> {family})" in said
    assert said.count("features differ by at most 0.0e+00") >= 2 and "verified with" in said and "no place" not in said
    before, after = (recognise(read_state(path)).state for path in (file.path, back))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before)


@pytest.mark.parametrize("family", dict.fromkeys(MAKERS.values()))
def test_features_are_the_same_in_classifier_detector_and_segmentor(family, tmp_path):
    file = next(maker for maker, known in MAKERS.items() if known == family)(tmp_path)
    architecture = recognise(read_state(file.path)).architecture
    images = numbered(1, *file.image)
    features = features_in_three_models(file.path, architecture, images)
    assert all(torch.equal(tensor, features["classifier"]) for tensor in features.values())


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_features_at_both_sizes_and_back_again(name, tmp_path, capsys):
    family, container, settings = GOLDEN[name]
    path = family_file(name, tmp_path, container)
    assert [known.name for known, _ in families_of(read_state(path))] == [family]
    backbone, inputs, outputs = load_backbone(path, **settings), tensors(name, "in/"), tensors(name, "out/")
    with torch.inference_mode():
        ours, large = backbone(inputs["images"]), backbone(inputs["images_large"])
    if family.startswith("vitdet"):
        assert difference(ours, outputs["tokens"]) <= 1e-5 and difference(large, outputs["tokens_large"]) <= 1e-5
    else:
        assert difference(ours, [outputs[f"tap_{tap}"] for tap in range(4)]) <= 1e-5
        assert difference([large[-1].flatten(2).mT], outputs["tokens_large"][:, 1:]) <= 1e-5
        resized = dict(load_backbone(path, img_size=96, **settings).named_parameters())
        for key, table in tensors(name, "out/resampled/").items():
            key = key.removeprefix("backbone.").replace("layers.", "blocks.")
            torch.testing.assert_close(resized[key].detach(), table, atol=1e-6, rtol=0)
    for source, target, to in ((path, "ours.pth", "mimeval"), (tmp_path / "ours.pth", "back.pth", family)):
        assert main(["convert", str(source), str(tmp_path / target), "--to", to]) == 0
    before, after = read_state(path).state, read_state(tmp_path / "back.pth").state
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key].squeeze(), after[key].squeeze()) for key in before)
    said = capsys.readouterr().out
    assert ("verified with mmseg" if "mmseg" in family else "which is not installed") in said


@pytest.mark.parametrize("name", ["family_vitdet_d2", "family_vitdet_mmdet"])
def test_pyramids_of_vitdet_are_ours(name, tmp_path):
    from mimeval.backbones.pyramid import SimpleFeaturePyramid

    family, container, settings = GOLDEN[name]
    path = family_file(name, tmp_path, container)
    own = recognise(read_state(path)).own
    pyramid = SimpleFeaturePyramid(24, 16).eval()
    pyramid.load_state_dict({key.removeprefix("neck."): own[key] for key in own if key.startswith("neck.")})
    for module in pyramid.modules():
        if hasattr(module, "eps"):
            module.eps = 1e-6 if family == "vitdet" else 1e-5
    outputs = tensors(name, "out/")
    with torch.inference_mode():
        levels = pyramid(load_backbone(path, **settings)(tensors(name, "in/")["images"]))
    assert difference(levels, [outputs[f"p{level}"] for level in range(2, 7)]) <= 1e-5


def test_a_pyramid_of_mmseg_is_ours(tmp_path):
    from mimeval.backbones.pyramid import TapPyramid

    path = family_file("family_mmseg_mae", tmp_path, "state_dict")
    own = recognise(read_state(path)).own
    pyramid = TapPyramid(28, dict(type="BN")).eval()
    pyramid.load_state_dict(
        {
            key.removeprefix("neck."): own[key].squeeze() if own[key].dtype == torch.int64 else own[key]
            for key in own
            if key.startswith("neck.")
        }
    )
    outputs = tensors("family_mmseg_mae", "out/")
    with torch.inference_mode():
        levels = pyramid([outputs[f"tap_{tap}"] for tap in range(4)])
    assert difference(levels, [outputs[f"neck_{level}"] for level in range(4)]) <= 1e-5


def test_timm_reads_an_official_swin_as_we_do_and_resamples_tables_as_we_do(tmp_path):
    from timm.models.swin_transformer import SwinTransformer, checkpoint_filter_fn

    from tests.checkpoints.made_files import SWIN, official_swin

    for maker, family in ((official_swin, "swin"), (timm_swin, "timm_swin")):
        path = maker(tmp_path).path
        larger = {**SWIN, "window_size": 4}
        theirs = SwinTransformer(img_size=128, patch_size=4, num_classes=7, **larger)
        theirs.load_state_dict(checkpoint_filter_fn(dict(read_state(path).state), theirs))
        ours = load_backbone(path, img_size=128, window_size=4, switches=["tables=geometric_linear"])
        assert ours.load_report.family == family
        images = numbered(1, 128, 128)
        with torch.inference_mode():
            assert difference(ours(images), theirs.eval().forward_features(images).mean((1, 2))) <= TOLERANCE
    assert recognise(read_state(path)).architecture.table_resample == "geometric_linear"


def test_names_in_the_memory_of_transformers_5_are_read_too(tmp_path):
    from tests.checkpoints.made_files import hf_dinov2, hf_swin, hf_vitmae

    transformers = pytest.importorskip("transformers")
    classes = {
        hf_vitmae: transformers.ViTMAEForPreTraining,
        hf_dinov2: transformers.Dinov2ForImageClassification,
        hf_swin: transformers.SwinForImageClassification,
    }
    for maker, kind in classes.items():
        folder = tmp_path / maker.__name__
        folder.mkdir()
        file = maker(folder)
        # What save_pretrained writes now: other names of ViTMAE's decoder than the published file's.
        model = kind.from_pretrained(folder)
        model.save_pretrained(folder / "again")
        memory = saved(folder, model.state_dict())
        found = [recognise(read_state(path)) for path in (file.path, memory, folder / "again" / "model.safetensors")]
        assert len({one.family.name for one in found}) == 1
        for one in found[1:]:
            assert one.own.keys() == found[0].own.keys()
            assert all(torch.equal(one.own[name], found[0].own[name]) for name in one.own)


def test_config_json_and_our_header_tell_heads_and_epsilon(tmp_path):
    from tests.checkpoints.made_files import hf_vit

    file = hf_vit(tmp_path)
    architecture = recognise(read_state(file.path)).architecture
    assert (architecture.num_heads, architecture.norm_eps) == (4, 1e-12)
    (tmp_path / "config.json").write_text('{"model_type": "vit", "layer_norm_eps": 1e-6, "num_attention_heads": 2}')
    architecture = recognise(read_state(file.path)).architecture
    assert (architecture.num_heads, architecture.norm_eps) == (2, 1e-6)
    for useless in (
        "[1]",
        "{",
        '{"model_type": "bert", "num_attention_heads": 2}',
        '{"model_type": "vit", "num_attention_heads": "2"}',
    ):
        (tmp_path / "config.json").write_text(useless)
        architecture = recognise(read_state(file.path)).architecture
        assert (architecture.num_heads, architecture.norm_eps) == (None, 1e-12)
    # Of another source the epsilon is in the header, and in the sentence for whoever writes the config.
    alone = tmp_path / "alone"
    alone.mkdir()
    source = family_file("family_dino", tmp_path)
    assert main(["convert", str(source), str(alone / "x.safetensors"), "--to", "hf", "--num-heads", "4"]) == 0
    architecture = recognise(read_state(alone / "x.safetensors")).architecture
    assert (architecture.num_heads, architecture.norm_eps) == (4, 1e-6)


def test_a_pool_of_normed_tokens_is_no_fc_norm(tmp_path):
    from tests.checkpoints.made_files import mmpretrain_vit

    file = mmpretrain_vit(tmp_path, out_type="avg_featmap")
    backbone = load_backbone(file.path)
    assert backbone.out_type == "tokens"
    assert "a second norm, of the mean of normed tokens" in backbone.load_report.left_over.values()
    images = numbered(1, 32, 32)
    norm = torch.nn.functional.layer_norm
    state = read_state(file.path).state
    with torch.inference_mode():
        mean = backbone(images)[0][:, 1:].mean(1)
        pooled = norm(mean, (32,), state["backbone.ln2.weight"], state["backbone.ln2.bias"], 1e-6)
        assert difference([pooled], file.features(images)) <= TOLERANCE
    for source, target, to in ((file.path, "ours.pth", "mimeval"), (tmp_path / "ours.pth", "back.pth", "mmpretrain")):
        assert main(["convert", str(source), str(tmp_path / target), "--to", to]) == 0
    assert read_state(tmp_path / "back.pth").state.keys() == state.keys()


def test_bare_names_of_an_extracted_backbone_are_known(tmp_path):
    from tests.checkpoints.made_files import mmpretrain_swin, mmpretrain_vit, mmseg_mae

    for maker in (mmpretrain_vit, mmpretrain_swin, mmseg_mae):
        file = maker(tmp_path)
        state = read_state(file.path).state
        bare = {n.removeprefix("backbone."): t.clone() for n, t in state.items() if n.startswith("backbone.")}
        whole = recognise(read_state(file.path))
        save_file(bare, tmp_path / "bare.safetensors")
        found = recognise(read_state(tmp_path / "bare.safetensors"))
        assert found.family.name == whole.family.name and found.encoder.keys() == whole.encoder.keys()
        assert load_file(tmp_path / "bare.safetensors").keys() == found.state.keys()
