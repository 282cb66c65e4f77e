"""Encoders that are no plain ViT through the demo suite, whose recipes are for one: what runs, and what the records say."""

import json
from pathlib import Path

import pytest
import torch
from timm.layers import SwiGLUPacked
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import nn

from mimeval.backbones import VisionTransformer
from mimeval.checkpoints.formats.architecture import Swin, ViT
from mimeval.cli.main import main
from mimeval.engine.config import load_config
from mimeval.errors import UserError
from mimeval.transfer import results
from mimeval.transfer.adapt import IMAGENET, Known, adapt, check_recipes
from mimeval.transfer.plan import Request, plan, resolve_rows
from mimeval.transfer.report.table import build_table
from tests.checkpoints.test_encoder import PLAIN
from tests.transfer.test_suite import SHORT

SIZES = dict(embed_dim=64, depth=4, num_heads=1)
TIMM = dict(img_size=32, patch_size=4, num_classes=0, **SIZES)


def beit() -> dict:
    """Under the names of unilm's release."""
    ours = VisionTransformer(
        SIZES, img_size=32, patch_size=4, pos_embed="none", rel_pos="shared_bias", init_values=0.1, k_bias=False
    )
    state = {}
    for name, tensor in ours.state_dict().items():
        if name.endswith("qkv.bias"):
            state[name.replace("qkv.bias", "q_bias")], _, state[name.replace("qkv.bias", "v_bias")] = tensor.chunk(3)
        else:
            state[name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2")] = tensor
    head = {"lm_head.weight": torch.ones(8, 64), "lm_head.bias": torch.ones(8), "mask_token": torch.ones(1, 1, 64)}
    return {"model": {**state, **head}}


def dinov2() -> dict:
    swiglu = dict(mlp_layer=SwiGLUPacked, act_layer=nn.SiLU, mlp_ratio=5.25)
    return TimmViT(reg_tokens=4, no_embed_class=True, init_values=1.0, **swiglu, **TIMM).state_dict()


def eva02() -> dict:
    kinds = dict(qkv_fused=False, swiglu_mlp=True, scale_mlp=True, use_rot_pos_emb=True, ref_feat_shape=(8, 8))
    return Eva(mlp_ratio=8 / 3, global_pool="token", **kinds, **TIMM).state_dict()


def dinov3() -> dict:
    rope = dict(
        use_rot_pos_emb=True, use_abs_pos_emb=False, rope_type="dinov3", rope_temperature=100, rope_rotate_half=True
    )
    return Eva(
        num_reg_tokens=4, init_values=1e-5, qkv_bias=False, use_fc_norm=False, global_pool="token", **rope, **TIMM
    ).state_dict()


def ijepa() -> dict:
    ours = VisionTransformer(SIZES, img_size=32, patch_size=4, class_token=False)
    state = ours.state_dict()
    return {"target_encoder": {**state, "pos_embed": state["pos_embed"][:, 1:]}}


ALL = set(results.TASKS)
MADE = {
    beit: (
        ALL,
        ["layer scale", "no absolute positions", "no bias of k", "one relative bias for all blocks"],
        ["images normalised with mean 0.5 0.5 0.5, std 0.5 0.5 0.5"],
    ),
    dinov2: (ALL, ["SwiGLU", "layer scale", "4 registers"], []),
    eva02: (
        ALL,
        ["SwiGLU with a norm", "no bias of k", "rotary positions"],
        ["images normalised with mean 0.481 0.458 0.408, std 0.269 0.261 0.276"],
    ),
    dinov3: (
        ALL,
        ["no absolute positions", "layer scale", "no bias of k", "an epsilon of 1e-05 in LayerNorm", "4 registers"]
        + ["centred rotary positions"],
        [],
    ),
    ijepa: (ALL, ["no class token"], []),
}


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
def test_anybodys_encoder_goes_through_the_suite(make, tmp_path, data, capsys):
    tasks, encoder, images = MADE[make]
    torch.manual_seed(0)
    torch.save(make(), tmp_path / "theirs.pth")
    out = tmp_path / "out"
    options = [*SHORT, *(f"{task}.model.backbone.arch.num_heads=1" for task in results.TASKS)]
    command = ["transfer", str(tmp_path / "theirs.pth"), "--data", str(data), "--out", str(out), "--no-random"]
    assert main([*command, "--cfg-options", *options]) == 0
    assert "[1] The encoder is the checkpoint's where the recipe has another: " in capsys.readouterr().out
    records = {record.task: record for record in results.read(out)}
    assert set(records) == tasks
    for task, record in records.items():
        said = [phrase for phrase in record.checkpoint["adapted"] if "relative biases" not in phrase]
        assert sorted(said) == sorted([*encoder, *images]), task
        loaded, total = record.checkpoint["loaded"].removesuffix(" tensors").split(" of ")
        assert int(total) - int(loaded) == len(record.checkpoint["fresh"])
        assert set(record.checkpoint["fresh"]) <= {"fc_norm.weight", "fc_norm.bias"}
    notes = build_table(list(records.values())).footnotes
    assert any(note.startswith("The encoder is the checkpoint's where the recipe has another: ") for note in notes)
    assert main(["report", str(out)]) == 0
    text = (out / "report.md").read_text()
    assert encoder[0] in text and "The encoder of theirs is not the recipe's own, which the random row has" in text
    json.loads((out / "results.jsonl").read_text().splitlines()[0])


def jobs(tmp_path, suite, tasks=None):
    request = Request(
        checkpoints=[str(tmp_path / "theirs.pth")], suite=suite, out=tmp_path / "out", data=str(tmp_path), tasks=tasks
    )
    return list(plan(request, resolve_rows(request)))


def test_a_plain_encoder_is_the_recipes_own(tmp_path, checkpoint):
    (tmp_path / "theirs.pth").write_bytes(checkpoint.read_bytes())
    for job in jobs(tmp_path, "configs/suites/demo.py"):
        assert job.adapted == ()
        assert {**job.cfg.model.backbone, "init_cfg": None} == {
            **next(
                other.cfg.model.backbone
                for other in jobs(tmp_path, "configs/suites/demo.py")
                if (other.task, other.row.init) == (job.task, "random")
            ),
            "init_cfg": None,
        }


def test_random_initialisation_and_what_is_compared_stay_the_recipes(tmp_path):
    torch.save(beit(), tmp_path / "theirs.pth")
    for random, theirs in zip(*[iter(jobs(tmp_path, "configs/suites/demo.py"))] * 2, strict=True):
        assert (random.row.init, theirs.row.init, random.adapted) == ("random", "theirs", ())
        assert random.config_hash == theirs.config_hash and random.name == theirs.name
        assert random.cfg.model.data_preprocessor.mean[0] == pytest.approx(123.675)
        assert theirs.cfg.model.data_preprocessor.mean == theirs.cfg.model.data_preprocessor.std == [127.5] * 3


RECIPES = {"knn": "knn_vitb", "segmentation": "upernet_vitb", "detection": "maskrcnn_vitdet_vitb"}
WINDOWS = r"the recipe of detection \(maskrcnn_vitdet\) cannot have its encoder: it attends within windows, and the encoder has "
MAPS = r"the recipe of segmentation \(upernet_512_160k\) cannot have its encoder: its maps have steps of 16 pixels, .* patches 14 .*"


@pytest.mark.parametrize(
    ("facts", "said", "differs"),
    [
        (
            dict(rel_pos="shared_bias"),
            WINDOWS + r"one relative bias .*; leave it out \(--tasks knn,segmentation\), or give",
            ["one relative bias for all blocks"],
        ),
        (
            dict(patch_size=14, rel_pos="rotary", rel_pos_grid=(16, 16)),
            rf"{MAPS}; {WINDOWS}rotary positions.*; leave them out \(--tasks knn\), or give",
            ["patches of 14 pixels", "rotary positions"],
        ),
    ],
)
def test_recipes_that_cannot_have_the_encoder_are_said_at_once_with_the_others(facts, said, differs):
    bases = {task: load_config(f"transfer/{name}") for task, name in RECIPES.items()}
    known = Known(Path("x.pth"), ViT(**{**PLAIN, **facts}), IMAGENET)
    with pytest.raises(UserError, match=f"x.pth: {said}"):
        check_recipes(bases, known)
    assert adapt(bases["knn"], known) == differs
    check_recipes(bases, Known(Path("x.pth"), ViT(**PLAIN), IMAGENET))


def test_a_probe_of_the_class_token_reads_the_patches_where_there_is_none():
    cfg = load_config("transfer/linear_vitb")
    said = adapt(cfg, Known(Path("x.pth"), ViT(**{**PLAIN, "cls_token": False}), IMAGENET))
    assert said == ["no class token", "the mean of the patches in place of the class token"]
    assert (cfg.model.neck.tokens, cfg.model.neck.class_token) == ("mean", False)


def test_another_size_has_another_suite_or_is_the_strict_loaders(tmp_path):
    cfg = load_config("transfer/knn_vitb")
    known = Known(Path("x.pth"), ViT(**{**PLAIN, "embed_dim": 1024, "depth": 24}), IMAGENET)
    with pytest.raises(UserError, match="is ViT width 1024 .* give --suite configs/suites/standard_vitl.py"):
        check_recipes({"knn": cfg}, known)
    for other in (
        ViT(**{**PLAIN, "embed_dim": 96}),
        Swin(embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4,), windows=(7,)),
    ):
        assert adapt(cfg, Known(Path("x.pth"), other, IMAGENET)) == []
