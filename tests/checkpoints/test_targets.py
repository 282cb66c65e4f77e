"""`convert --to`: which layout is chosen, what is refused, and what the target's own library says of the written file."""

import importlib
import importlib.util

import pytest
import torch
from torch import nn

from mimeval.backbones import SwinTransformer
from mimeval.checkpoints import read_state, rebuild
from mimeval.checkpoints.convert import convert
from mimeval.checkpoints.load import load_recognised
from mimeval.errors import UserError
from tests.checkpoints.families import family_file, tensors
from tests.checkpoints.made_files import timm_swin, timm_vit

HEADS = {
    "mae_pretrain": 4,
    "localmim_vit": 4,
    "family_dinov2_reg": 3,
    "family_ijepa": 4,
    "family_cae": 4,
    "family_mocov3": 4,
}


@pytest.mark.parametrize(
    ("name", "to", "family"),
    [
        ("mae_pretrain", "timm", "timm_vit"),
        ("mae_pretrain", "hf", "hf_vitmae"),
        ("mae_pretrain", "mmpretrain", "mmpretrain_vit"),
        ("mae_pretrain", "mmseg", "mmseg_vit"),
        ("mae_pretrain", "mmseg_mae", "mmseg_mae"),
        ("localmim_vit", "hf", "hf_vit"),
        ("localmim_swin", "timm", "timm_swin"),
        ("simmim_swin", "timm", "timm_swin"),
        ("simmim_vit", "mmseg", "mmseg_beit"),
        ("family_beit", "mmpretrain", "mmpretrain_beit"),
        ("family_beit_finetune", "mmseg", "mmseg_beit"),
        ("family_dinov2_reg", "timm", "timm_vit"),
        ("family_dinov2_reg", "hf", "hf_dinov2"),
        ("family_ijepa", "timm", "timm_vit"),
        ("family_cae", "mmpretrain", "mmpretrain_vit"),
        ("family_mocov3", "timm", "timm_vit"),
    ],
)
def test_any_family_into_the_layout_that_holds_it(tmp_path, name, to, family):
    report = convert(family_file(name, tmp_path), tmp_path / "x.safetensors", to, num_heads=HEADS.get(name))
    assert report.to == family and report.feature_difference == 0
    assert report.verification_difference <= 1e-5 and "verified with" in report.verification


@pytest.mark.parametrize(
    ("name", "to", "said"),
    [
        ("simmim_vit", "timm", "no place for 1 tensors of the encoder .backbone.rel_pos_bias"),
        ("family_dinov2_reg", "mmpretrain", "no place for 1 tensors of the encoder .backbone.reg_token"),
        ("family_ijepa", "hf", "all files of the format hf_vit have embeddings.cls_token"),
        ("simmim_swin", "hf", "cannot be written as hf_swin: its tables are of windows of 3, 6"),
        ("simmim_swin", "mmseg", "cannot be written as mmseg_swin: its tables are of windows"),
        ("mae_pretrain", "vitdet", "no place for 3 tensors of the encoder .backbone.cls_token"),
        ("mae_pretrain", "mvit", "There is no format 'mvit' to convert to; choose one of beit, cae"),
        ("mae_pretrain", "localmim", "There is no format 'localmim'"),
    ],
)
def test_what_a_layout_cannot_hold_is_refused(tmp_path, name, to, said):
    with pytest.raises(UserError, match=said) as error:
        convert(family_file(name, tmp_path), tmp_path / "x.safetensors", to, num_heads=HEADS.get(name))
    assert "\n" not in str(error.value) and not (tmp_path / "x.safetensors").exists()


def test_what_is_added_or_left_out_is_said(tmp_path):
    report = convert(family_file("mae_pretrain", tmp_path), tmp_path / "x.pth", "mmseg_mae", num_heads=4)
    assert "layer scale of ones and tables of zeros added, which change nothing" in report.transformations
    state = read_state(tmp_path / "x.pth").state
    assert state["backbone.layers.2.gamma_2"].eq(1).all() and state["backbone.layers.2.ffn.layers.1.bias"].shape == (
        32,
    )
    report = convert(family_file("family_beit_finetune", tmp_path), tmp_path / "y.pth", "mmseg")
    assert "backbone.fc_norm.weight, backbone.fc_norm.bias left out: mmseg_beit ends without norm" in str(report)
    report = convert(family_file("localmim_vit", tmp_path), tmp_path / "z.pth", "timm", num_heads=4)
    assert "backbone.tap_norms.3, of the last block, taken for norm" in str(report)
    state = tensors("localmim_vit", "state/")
    assert torch.equal(read_state(tmp_path / "z.pth").state["norm.weight"], state["norm.3.weight"])


def test_registers_come_with_the_class_position_in_the_class_token(tmp_path):
    source = family_file("family_dinov2_reg", tmp_path)
    convert(source, tmp_path / "timm.pth", "timm", num_heads=3)
    theirs, state = read_state(tmp_path / "timm.pth").state, tensors("family_dinov2_reg", "state/")
    assert torch.equal(theirs["cls_token"], state["cls_token"] + state["pos_embed"][:, :1])
    assert torch.equal(theirs["pos_embed"], state["pos_embed"][:, 1:])


def test_a_library_that_is_not_there_is_said_and_the_file_stays(tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "timm" else found(name, *rest))
    report = convert(timm_vit(tmp_path).path, tmp_path / "x.pth", "timm", num_heads=4)
    assert report.verification_difference is None and (tmp_path / "x.pth").is_file()
    assert "not verified with a class of timm, which is not installed" in str(report)


@pytest.mark.parametrize("what", ["features", "shape", "names"])
def test_a_file_that_the_library_reads_otherwise_does_not_stay(tmp_path, monkeypatch, what):
    original = rebuild.REBUILDERS["timm_vit"]

    def broken(case):
        if what == "names":
            case.state["surprise"] = torch.ones(1)
        name, run = original(case)
        return name, (lambda x: run(x) + 1e-4) if what == "features" else (lambda x: run(x)[:, 1:])

    monkeypatch.setitem(rebuild.REBUILDERS, "timm_vit", broken)
    said = {
        "features": "features differ by 1.0e-04",
        "shape": "expected features",
        "names": 'Unexpected key.*"surprise"',
    }
    with pytest.raises(UserError, match=said[what]) as error:
        convert(timm_vit(tmp_path).path, tmp_path / "x.pth", "timm", num_heads=4)
    assert "timm 1." in str(error.value) and "\n" not in str(error.value) and not (tmp_path / "x.pth").exists()


def test_another_version_of_the_library_is_no_error(tmp_path, monkeypatch):
    def changed(case):
        raise TypeError("__init__() got an unexpected keyword argument 'reg_tokens'")

    monkeypatch.setitem(rebuild.REBUILDERS, "timm_vit", changed)
    report = convert(timm_vit(tmp_path).path, tmp_path / "x.pth", "timm", num_heads=4)
    assert "not verified with a class of timm, which could not be built (TypeError" in report.verification
    assert (tmp_path / "x.pth").is_file()


def test_norms_of_its_own_are_no_class_of_transformers(tmp_path):
    """An epsilon of 1e-6 outside of blocks, which its Swin cannot have; one after pooling, which no class has."""
    report = convert(family_file("localmim_swin", tmp_path), tmp_path / "x.safetensors", "hf")
    assert (
        "not verified with a class of transformers: its norms outside blocks always have the epsilon 1e-5"
        in report.verification
    )


def test_every_output_is_compared(tmp_path, monkeypatch):
    """A Swin without final norm gives one map for each stage: a mistake in the last one shows."""
    path = timm_swin(tmp_path).path
    state = {
        f"backbone.{name}": tensor
        for name, tensor in read_state(path).state.items()
        if name[:4] not in ("norm", "head")
    }
    torch.save({"state_dict": state}, tmp_path / "maps.pth")
    load = load_recognised

    def wrong(backbone, checkpoint, found):
        report = load(backbone, checkpoint, found)
        if isinstance(backbone, SwinTransformer) and checkpoint.path.name != "maps.pth":
            last = backbone.layers[3].blocks[0].mlp.fc2
            last.bias = nn.Parameter(last.bias + 1)
        return report

    assert convert(tmp_path / "maps.pth", tmp_path / "y.pth").feature_difference == 0
    monkeypatch.setattr(importlib.import_module("mimeval.checkpoints.convert"), "load_recognised", wrong)
    with pytest.raises(RuntimeError, match="features differ"):
        convert(tmp_path / "maps.pth", tmp_path / "x.pth")


def test_parameters_come_later_and_buffers_at_once():
    with rebuild.parameters_later():
        model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    assert all(parameter.is_meta for parameter in model.parameters())
    assert not any(buffer.is_meta for buffer in model.buffers())
    state = {name: torch.ones_like(tensor, device="cpu") for name, tensor in model.state_dict().items()}
    assert not any(tensor.is_meta for tensor in rebuild.filled(model, state).state_dict().values())
    with pytest.raises(ValueError, match="so"), rebuild.parameters_later():
        raise ValueError("so")
    assert not nn.Linear(2, 3).weight.is_meta
