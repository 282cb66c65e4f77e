"""A Swin checkpoint through the five tasks for real, one or two steps each, chosen by the suite itself."""

import pytest
import torch
from mmengine.registry import DefaultScope, init_default_scope

from mimeval.cli.main import main
from mimeval.engine.config import load_config
from mimeval.engine.layer_decay import LayerDecayOptimWrapperConstructor
from mimeval.errors import UserError
from mimeval.registry import MODELS
from mimeval.transfer import results
from mimeval.transfer.plan import Request, plan, resolve_rows
from tests.transfer.test_suite import SHORT


@pytest.fixture(scope="module")
def swin(tmp_path_factory):
    """What the runner leaves of configs/demo/simmim_swin_demo.py before its first step."""
    config = load_config("demo/simmim_swin_demo")
    init_default_scope("mimeval")
    model = MODELS.build(config.model)
    path = tmp_path_factory.mktemp("swin") / "swin.pth"
    torch.save({"state_dict": model.state_dict(), "meta": {"cfg": config.pretty_text, "epoch": 1}}, path)
    return path


def jobs_of(tmp_path, checkpoints, suite="demo", **changes):
    # Any folder there is serves a plan: nothing is read from it. The suite's own need not be on this machine.
    settings = {"suite": f"configs/suites/{suite}.py", "data": tmp_path, "out": tmp_path / "out", "random": False}
    request = Request(checkpoints=[str(path) for path in checkpoints], **settings, **changes)
    return list(plan(request, resolve_rows(request)))


def test_all_five_tasks(swin, data, tmp_path):
    command = ["transfer", str(swin), "--data", str(data), "--out", str(tmp_path / "out"), "--no-random"]
    assert main([*command, "--cfg-options", *SHORT]) == 0
    records = {record.task: record for record in results.read(tmp_path / "out")}
    assert list(records) == list(results.TASKS)
    for task, record in records.items():
        assert record.protocol.endswith("_swin") and 0 <= record.value <= 100
        loaded = record.checkpoint
        assert loaded["family"] == "mimeval" and loaded["architecture"].startswith("Swin width 32 depths 2, 2")
        # Everything but what the task adds: a norm for each stage.
        count, total = loaded["loaded"].removesuffix(" tensors").split(" of ")
        fresh = [f"tap_norms.{stage}.{kind}" for stage in (0, 1) for kind in ("weight", "bias")]
        assert sorted(loaded["fresh"]) == (sorted(fresh) if task in ("detection", "segmentation") else [])
        assert int(total) - int(count) == len(loaded["fresh"])
    read = {task: (record.features["tokens"], record.features["norm"]) for task, record in records.items()}
    assert read["knn"] == read["linear"] == read["finetune"] == ("mean", "norm")
    assert read["detection"] == read["segmentation"] == ("patches", "tap_norms")


@pytest.mark.parametrize("suite", ["demo", "standard", "sign_digits", "camvid", "pennfudan"])
def test_a_suite_names_the_one_for_swin(tmp_path, swin, checkpoint, suite):
    for job in jobs_of(tmp_path, [swin], suite):
        assert job.cfg.model.backbone.type == "mimeval.SwinTransformer" and "swin" in str(job.cfg.filename)
        with DefaultScope.overwrite_default_scope("mimeval"), torch.device("meta"):
            MODELS.build(job.cfg.model)
    if suite == "standard":  # the checkpoint is one of the demo's
        with pytest.raises(UserError, match="tiny.pth: .* give --suite configs/suites/demo.py"):
            jobs_of(tmp_path, [checkpoint], suite)
    else:
        for job in jobs_of(tmp_path, [checkpoint], suite):
            assert job.cfg.model.backbone.type == "mimeval.VisionTransformer"
    of_swin, of_vit = (load_config(f"suites/{name}").tasks for name in (f"{suite}_swin", suite))
    assert list(of_swin) == list(of_vit)


def test_two_kinds_are_not_one_table(tmp_path, swin, checkpoint):
    with pytest.raises(UserError, match="swin.pth and .*tiny.pth: the first is a Swin, the other is none"):
        jobs_of(tmp_path, [swin, checkpoint])


def test_layer_decay_goes_by_swins_own_blocks(tmp_path, swin):
    job = next(job for job in jobs_of(tmp_path, [swin]) if job.task == "finetune")
    init_default_scope("mimeval")
    model = MODELS.build(job.cfg.model)
    wrapper = {"optimizer": dict(job.cfg.optim_wrapper.optimizer, lr=1.0)}
    groups = LayerDecayOptimWrapperConstructor(wrapper, job.cfg.optim_wrapper.paramwise_cfg)(
        model
    ).optimizer.param_groups
    scales = {name: group["lr_scale"] for group in groups for name in group["param_names"]}
    decay = job.cfg.optim_wrapper.paramwise_cfg.layer_decay
    # Four blocks: the embedding is layer 0, the head and the norm layer 5, patch merging goes with the block before it.
    expected = {
        "backbone.patch_embed.proj.weight": 5,
        "backbone.layers.0.blocks.0.attn.qkv.weight": 4,
        "backbone.layers.0.blocks.1.mlp.fc1.weight": 3,
        "backbone.layers.1.downsample.reduction.weight": 3,
        "backbone.layers.1.blocks.0.attn.relative_position_bias_table": 2,
        "backbone.layers.1.blocks.1.norm2.weight": 1,
        "backbone.norm.weight": 0,
        "head.fc.weight": 0,
    }
    assert {name: scales[name] for name in expected} == pytest.approx({n: decay**k for n, k in expected.items()})


def test_a_switch_is_a_measurement_of_its_own(tmp_path, checkpoint):
    plain = jobs_of(tmp_path, [checkpoint], tasks=["knn"])[0]
    switched = jobs_of(tmp_path, [checkpoint], tasks=["knn"], switches=["positions=bicubic_antialias"])[0]
    assert switched.cfg.model.backbone.init_cfg.switches == ["positions=bicubic_antialias"]
    assert plain.config_hash != switched.config_hash and plain.key != switched.key
