"""Exported folders load in timm and transformers as they are; exported graphs run without this package, with equal features."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from mimeval.backbones import VisionTransformer
from mimeval.checkpoints import inspect, load_backbone, read_state
from mimeval.checkpoints.export import KINDS, export
from mimeval.checkpoints.formats import recognise
from mimeval.checkpoints.formats.base import IMAGENET_MEAN, IMAGENET_STD
from mimeval.checkpoints.state import sha256
from mimeval.cli import export as verb
from mimeval.cli.main import main
from mimeval.errors import UserError
from mimeval.transfer.results import Record, append
from tests.checkpoints.families import family_file
from tests.checkpoints.made_files import (
    difference,
    hf_swin,
    hf_vit_classifier,
    mmpretrain_vit_pooled,
    numbered,
    timm_swin,
    timm_vit,
)

# Source: golden file or maker, heads.
TIMM = {
    "mae_pretrain": 4,
    "family_dinov2_reg": 3,
    "family_dinov2_swiglu": 4,
    "family_ijepa": 4,
    "family_eva02": None,
    "family_eva02_preln": None,
    "simmim_swin": None,
    timm_swin: None,
    mmpretrain_vit_pooled: None,
}
HF = {
    "mae_pretrain": 4,
    "family_dino": 4,
    "family_dinov2_reg": 3,
    "family_dinov2_swiglu": 4,
    hf_swin: None,
    hf_vit_classifier: None,
}


def source(given, folder):
    """The checkpoint of a golden file or of a maker."""
    folder.mkdir()
    return family_file(given, folder) if isinstance(given, str) else given(folder).path


def ours(path, heads):
    backbone = load_backbone(path, **({} if heads is None else {"num_heads": heads}))
    images = numbered(2, *(int(n) * backbone.patch_size for n in backbone.grid))
    with torch.inference_mode():
        return images, backbone(images)[-1]


@pytest.mark.parametrize("given", TIMM, ids=lambda given: getattr(given, "__name__", given))
def test_timm_creates_the_model_from_the_folder(tmp_path, given, capsys):
    timm = pytest.importorskip("timm")
    path, heads = source(given, tmp_path / "in"), TIMM[given]
    arguments = ["--num-heads", str(heads)] if heads else []
    assert main(["export", str(path), str(tmp_path / "out"), "--to", "timm-hub-folder", *arguments]) == 0
    assert "verified with timm" in capsys.readouterr().out
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    images, expected = ours(path, heads)
    with torch.inference_mode():
        tokens = model.forward_features(images)
        if expected.dim() == 2:
            tokens = tokens.mean((1, 2)) if tokens.dim() == 4 else model.forward_head(tokens, pre_logits=True)
        elif getattr(model, "reg_token", None) is not None:
            tokens = torch.cat([tokens[:, :1], tokens[:, model.num_prefix_tokens :]], dim=1)
    assert difference([expected], tokens) <= 1e-5
    assert tuple(model.pretrained_cfg["input_size"]) == (3, *images.shape[2:])


@pytest.mark.parametrize(("name", "kind"), [("family_eva02", "timm-hub-folder"), ("family_data2vec_vision", "mimeval")])
def test_the_images_normalisation_goes_with_the_weights(tmp_path, name, kind):
    """From its family into our format or timm's config.json, and back out of these."""
    path, target = source(name, tmp_path / "in"), tmp_path / "out"
    expected = recognise(read_state(path)).normalisation
    if kind == "mimeval":
        assert main(["convert", str(path), str(tmp_path / "ours.safetensors")]) == 0
        weights = tmp_path / "ours.safetensors"
    else:
        assert main(["export", str(path), str(target), "--to", kind]) == 0
        weights = target / "model.safetensors"
        # Of the folder alone, for a file that others made has no header of ours.
        save_file(load_file(weights), weights)
    found = recognise(read_state(weights))
    assert found.normalisation == expected
    mean = inspect(weights).mean
    assert mean == list(expected[0])


@pytest.mark.parametrize("stated", [{}, {"mean": [0.5, 0.5]}, {"mean": ["a"] * 3, "std": [1.0] * 3}, {"mean": 0.5}, 3])
def test_a_config_of_timm_that_states_no_normalisation(tmp_path, stated):
    path = source(timm_vit, tmp_path / "in")
    config = {"architecture": "x", "pretrained_cfg": stated}
    (path.parent / "config.json").write_text(json.dumps(config))
    assert recognise(read_state(path)).normalisation == (IMAGENET_MEAN, IMAGENET_STD)
    config["pretrained_cfg"] = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    (path.parent / "config.json").write_text(json.dumps(config))
    assert recognise(read_state(path)).normalisation == ((0.5,) * 3, (0.25,) * 3)


@pytest.mark.parametrize("given", HF, ids=lambda given: getattr(given, "__name__", given))
def test_transformers_load_the_folder(tmp_path, given, capsys):
    transformers = pytest.importorskip("transformers")
    path, heads = source(given, tmp_path / "in"), HF[given]
    arguments = ["--num-heads", str(heads)] if heads else []
    assert main(["export", str(path), str(tmp_path / "out"), "--to", "hf-folder", *arguments]) == 0
    assert "verified with transformers" in capsys.readouterr().out
    model, said = transformers.AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not said["unexpected_keys"] or all(key.startswith("classifier") for key in said["unexpected_keys"])
    assert all(key.startswith("pooler") for key in said["missing_keys"])
    images, expected = ours(path, heads)
    with torch.inference_mode():
        tokens = model.eval()(images).last_hidden_state
    registers = getattr(model.config, "num_register_tokens", 0)
    tokens = torch.cat([tokens[:, :1], tokens[:, 1 + registers :]], dim=1) if registers else tokens
    assert difference([expected], tokens.mean(1) if expected.dim() == 2 else tokens) <= 1e-5
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "out")
    assert processor.size == {"height": images.shape[2], "width": images.shape[3]}
    if given is hf_vit_classifier:
        whole = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "out")
        assert isinstance(whole, transformers.ViTForImageClassification) and whole.config.num_labels == 2


@pytest.mark.parametrize(
    ("kind", "suffix", "given", "heads"),
    [
        ("onnx", ".onnx", "mae_pretrain", 4),
        ("onnx", ".onnx", "family_beit_finetune", None),
        ("onnx", ".onnx", "family_eva02", None),
        ("torchscript", ".ts", "family_dinov2_reg", 3),
        ("torch-export", ".pt2", "mae_pretrain", 4),
    ],
)
def test_a_graph_gives_the_features_for_any_batch(tmp_path, capsys, kind, suffix, given, heads):
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    path, target = source(given, tmp_path / "in"), tmp_path / f"x{suffix}"
    arguments = ["--num-heads", str(heads)] if heads else []
    assert main(["export", str(path), str(target), "--to", kind, *arguments]) == 0
    assert "features of 3 images differ by at most" in capsys.readouterr().out
    images, expected = ours(path, heads)
    images, expected = images[:1], expected[:1]
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
        found = torch.from_numpy(session.run(["features"], {"images": images.numpy()})[0])
    else:
        with torch.no_grad():
            found = (torch.jit.load(target) if kind == "torchscript" else torch.export.load(target).module())(images)
    assert difference([expected], found) <= (1e-4 if kind == "onnx" else 1e-5)


def test_a_graph_runs_where_this_package_is_not(tmp_path):
    export(family_file("mae_pretrain", tmp_path), tmp_path / "x.ts", "torchscript", num_heads=4)
    code = "import sys, torch; print(torch.jit.load(sys.argv[1])(torch.zeros(5, 3, 32, 32)).shape, 'mimeval' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x.ts"], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == ["torch.Size([5,", "17,", "32])", "False"], done.stderr


def record(path, value, task="knn"):
    return Record(
        task=task,
        init="mae",
        metric="top-1",
        value=value,
        metrics={},
        seed=3,
        protocol="knn",
        protocol_version=2,
        features={},
        selection="k of the training set",
        config_hash="0",
        checkpoint={"path": str(path), "sha256": sha256(path)},
        note="a | b",
        artifacts="",
        git=None,
        versions={},
        hardware={},
        wall_s=1.0,
        peak_bytes=1,
        images_seen=1,
    )


def test_the_model_card_says_where_it_is_from_and_what_it_was_measured_at(tmp_path):
    path, other = family_file("family_beit_finetune", tmp_path), family_file("mae_pretrain", tmp_path)
    append(tmp_path, record(other, 61.25))
    append(tmp_path, record(path, 70.5, "linear"))
    export(other, tmp_path / "timm", "timm-hub-folder", num_heads=4, results=tmp_path / "results.jsonl")
    card = (tmp_path / "timm" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: timm\n") and 'create_model("local-dir:timm"' in card
    assert f"`mae_pretrain.pth`, family mae, sha256 `{sha256(other)}`" in card
    assert "| knn | top-1 61.25 | knn v2 | 3 | k of the training set | a \\| b |" in card and "70.50" not in card
    # Normalisation is the family's that the weights are from, by way of our own format, too.
    config = json.loads((tmp_path / "timm" / "config.json").read_text())
    assert config["pretrained_cfg"]["mean"] == [0.485, 0.456, 0.406]
    tuned = family_file("family_cae", tmp_path)
    assert main(["convert", str(tuned), str(tmp_path / "ours.safetensors"), "--num-heads", "4"]) == 0
    export(tmp_path / "ours.safetensors", tmp_path / "hf", "hf-folder")
    assert json.loads((tmp_path / "hf" / "preprocessor_config.json").read_text())["image_mean"] == [0.485, 0.456, 0.406]
    with pytest.raises(UserError, match=r"results.jsonl: none of its records is of .*family_cae.pth"):
        export(tuned, tmp_path / "x", "hf-folder", num_heads=4, results=tmp_path)
    with pytest.raises(UserError, match="expected a transfer run's folder with results.jsonl, found none"):
        export(tuned, tmp_path / "x", "hf-folder", num_heads=4, results=tmp_path / "hf")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("name", "to", "target", "more", "said"),
    [
        (
            "mae_pretrain",
            "hf-folder",
            "x",
            {},
            "does not say how many attention heads its encoder has; give --num-heads",
        ),
        ("family_vitdet_d2", "timm-hub-folder", "x", {}, "format timm_vit has no place for 8 tensors"),
        (
            "family_ijepa",
            "hf-folder",
            "x",
            {"num_heads": 4},
            "all files of the format hf_vit have embeddings.cls_token",
        ),
        ("localmim_swin", "timm-hub-folder", "x", {}, "epsilon; expected 1e-05, which its models have, found 1e-06"),
        ("mae_pretrain", "onnx", "x.pth", {"num_heads": 4}, "expected a file that ends in .onnx for onnx, found .pth"),
        ("mae_pretrain", "torchscript", "x.ts", {"num_heads": 4, "results": "."}, "--results goes into a model card"),
        ("mae_pretrain", "gguf", "x", {}, "There is no export 'gguf'; choose one of onnx, torchscript, torch-export"),
        ("mae_pretrain", "torchscript", "x.ts", {}, "give num_heads"),
        (
            "mae_pretrain",
            "timm-hub-folder",
            "x",
            {"num_heads": 4, "image_size": 33},
            "33 is no multiple of the checkpoint's patch",
        ),
    ],
)
def test_what_cannot_be_is_said_and_leaves_nothing(tmp_path, name, to, target, more, said):
    (tmp_path / "in").mkdir()
    path = family_file(name, tmp_path / "in", {"family_vitdet_d2": "model"}.get(name))
    with pytest.raises(UserError, match=said) as error:
        export(path, tmp_path / target, to, **more)
    assert "\n" not in str(error.value) and [entry.name for entry in tmp_path.iterdir()] == ["in"]


def test_what_is_there_is_kept(tmp_path):
    (tmp_path / "in").mkdir()
    path = timm_vit(tmp_path / "in").path
    export(path, tmp_path / "out", "timm-hub-folder", num_heads=4)
    (tmp_path / "x.ts").write_text("precious")
    for target, kind in (("out", "timm-hub-folder"), ("x.ts", "torchscript")):
        with pytest.raises(UserError, match="exists; choose another name or give --force"):
            export(path, tmp_path / target, kind, num_heads=4)
    assert (tmp_path / "x.ts").read_text() == "precious"
    export(path, tmp_path / "out", "hf-folder", num_heads=4, force=True)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "vit"
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match=r"holds other files \(thesis.tex\)"):
        export(path, tmp_path / "out", "hf-folder", num_heads=4, force=True)
    assert (tmp_path / "out" / "thesis.tex").read_text() == "precious"


def test_another_image_size_is_exported(tmp_path):
    path = family_file("mae_pretrain", tmp_path)
    export(path, tmp_path / "x.pt2", "torch-export", image_size=48, num_heads=4)
    backbone = load_backbone(path, num_heads=4, img_size=48)
    with torch.no_grad():
        found = torch.export.load(tmp_path / "x.pt2").module()(numbered(1, 48, 48))
        assert difference(backbone(numbered(1, 48, 48)), found) <= 1e-5


def test_a_graph_with_other_features_is_not_kept(tmp_path, monkeypatch):
    from mimeval.checkpoints import export_graph

    write = export_graph.WRITERS["torchscript"]
    monkeypatch.setitem(export_graph.WRITERS, "torchscript", lambda *given: lambda x: write(*given)(x) + 1e-3)
    with pytest.raises(UserError, match=r"x.ts was not written: as torchscript its features differ by 1.0e-03"):
        export(family_file("mae_pretrain", tmp_path), tmp_path / "x.ts", "torchscript", num_heads=4)
    assert [file.name for file in tmp_path.iterdir()] == ["mae_pretrain.pth"]


def test_attention_written_out_is_the_fused_one():
    torch.manual_seed(0)
    size = dict(embed_dim=32, depth=2, num_heads=4)
    backbone = VisionTransformer(size, img_size=32, patch_size=8, rel_pos="decomposed", window_size=3, out_type="maps")
    for name, tensor in backbone.named_parameters():
        if "rel_pos" in name:
            torch.nn.init.normal_(tensor)
    images = numbered(1, 32, 32)
    with torch.inference_mode():
        fused = backbone.eval()(images)
        for block in backbone.blocks:
            block.attn.fused_attn = False
        assert difference(backbone(images), fused) <= 1e-5  # of outputs up to 3


def test_the_verb_offers_every_kind():
    assert sorted(verb.KINDS) == sorted(KINDS)
