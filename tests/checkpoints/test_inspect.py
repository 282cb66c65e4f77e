"""An inspection says what a file is, as loading it would find it, from headers and samples, and runs nothing."""

import argparse
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mimeval.checkpoints import inspect, load_backbone
from mimeval.checkpoints.build import build_backbone
from mimeval.checkpoints.expected import sketch
from mimeval.checkpoints.formats import recognise
from mimeval.checkpoints.screen import render
from mimeval.checkpoints.state import read_state
from mimeval.checkpoints.units import count_of, size
from mimeval.errors import UserError
from tests.checkpoints.families import FILES, family_content, family_file, heads
from tests.checkpoints.made_files import MAKERS
from tests.checkpoints.test_libraries import GOLDEN


class Calls:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def saved(tmp_path, content, name="x.pth"):
    torch.save(content, tmp_path / name)
    return tmp_path / name


def plain_vit(depth=2, width=32) -> dict[str, torch.Tensor]:
    """A trained-looking ViT of MAE's names."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"cls_token": (1, 1, width), "pos_embed": (1, 17, width), "patch_embed.proj.weight": (width, 3, 8, 8)}
    shapes |= {"patch_embed.proj.bias": (width,), "norm.weight": (width,), "norm.bias": (width,)}
    for block in range(depth):
        linear = {"attn.qkv": (3 * width, width), "attn.proj": (width, width), "norm1": (width,), "norm2": (width,)}
        linear |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
        for name, shape in linear.items():
            shapes |= {f"blocks.{block}.{name}.weight": shape, f"blocks.{block}.{name}.bias": shape[:1]}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture(scope="module", params=[*FILES, *GOLDEN, *MAKERS], ids=lambda made: getattr(made, "__name__", made))
def known(request, tmp_path_factory):
    """A file of each family: golden, or made by its library; and what load_backbone has to be told."""
    folder = tmp_path_factory.mktemp("known")
    if callable(request.param):
        made = request.param(folder)
        return made.path, made.settings
    if request.param in GOLDEN:
        _, container, settings = GOLDEN[request.param]
        return family_file(request.param, folder, container), settings
    return saved(folder, family_content(request.param)), heads(request.param)


def test_it_says_what_loading_finds(known):
    path, settings = known
    found = inspect(path)
    report = load_backbone(path, **settings).load_report
    assert (found.family, found.container, found.reason) == (report.family, report.container, "")
    loading = found.loading
    assert loading.complete
    if not settings.keys() - {"num_heads"}:  # the very same backbone
        assert loading.left_over == report.left_over
        assert (loading.tensors, loading.loaded) == (report.total_tensors, len(report.loaded))
        assert loading.parameters >= report.parameters  # buffers are no parameters
        assert loading.fresh == report.fresh and set(found.transformations) == set(report.transformations)
    json.dumps(found.as_dict())
    screen = render(found)
    assert f"{loading.loaded} of {loading.tensors} tensors of the backbone" in " ".join(screen.split())
    # A path has no place to be broken.
    lines = [line for line in screen.partition("\nnext")[0].splitlines()[1:] if str(path.parent) not in line]
    assert max(map(len, lines)) <= 96


def test_the_sketch_of_a_backbone_has_its_very_tensors(known):
    path, settings = known
    architecture = recognise(read_state(path)).architecture
    built = build_backbone(path, architecture, **{k: v for k, v in settings.items() if k == "num_heads"}).state_dict()
    outlined = sketch(architecture).state_dict()
    assert {key: value.shape for key, value in outlined.items()} == {key: value.shape for key, value in built.items()}


def test_a_family_that_is_known_and_refused_is_named(tmp_path):
    found = inspect(saved(tmp_path, {"model_state": {"blocks.0.attn.pool_q.weight": torch.ones(4, 1, 3, 3)}}))
    assert found.family == "mvit" and found.reason and found.loading is None and not found.command
    assert "keys of" in render(found)


def test_another_network_of_the_file_is_chosen_by_a_switch(tmp_path):
    path = saved(tmp_path, family_content("family_dino_full"))
    found = inspect(path)
    assert (found.container, found.alternatives) == ("teacher", ["student"])
    assert "(--switch container=student)" in render(found)
    assert any("the file also holds student (--switch container=student)" in note for note in found.transformations)
    student = inspect(path, switches=["container=student"])
    assert (student.container, student.alternatives, student.family) == ("student", ["teacher"], "dino")
    with pytest.raises(UserError, match="container=x, found .*student, teacher"):
        inspect(path, switches=["container=x"])


def test_an_average_is_an_alternative_and_loads_when_asked(tmp_path):
    state = plain_vit()
    average = {f"module.{name}": tensor + 1 for name, tensor in state.items()}
    path = saved(tmp_path, {"model": state, "model_ema": average, "epoch": 3})
    assert (inspect(path).container, inspect(path).alternatives) == ("model", ["model_ema"])
    assert torch.equal(load_backbone(path, num_heads=2).norm.bias, state["norm.bias"])
    chosen = load_backbone(path, num_heads=2, switches=["container=model_ema"])
    assert torch.equal(chosen.norm.bias, state["norm.bias"] + 1)
    assert "container=model_ema, as asked" in chosen.load_report.transformations


@pytest.mark.parametrize(
    "wrap, container, note",
    [
        (lambda state: {"model": {f"module.{k}": v for k, v in state.items()}}, "model", "prefix module. taken off"),
        (lambda state: {"model": {f"_orig_mod.{k}": v for k, v in state.items()}}, "model", "prefix _orig_mod. taken off"),
        (lambda state: {f"module._orig_mod.{k}": v for k, v in state.items()}, "", "prefix module. taken off"),
        (
            lambda state: {"model": {k.replace("attn.", "_fsdp_wrapped_module.attn."): v for k, v in state.items()}},
            "model",
            "prefix _fsdp_wrapped_module. taken off",
        ),
        (
            lambda state: {"model": {k.replace("mlp.", "mlp._checkpoint_wrapped_module."): v for k, v in state.items()}},
            "model",
            "prefix _checkpoint_wrapped_module. taken off",
        ),
        # Lightning: a criterion beside the model, callbacks and a version.
        (
            lambda state: {
                "pytorch-lightning_version": "2.1", "state_dict": {f"model.{k}": v for k, v in state.items()},
                "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_path": "a"}}, "loops": {"fit_loop": {}},
            },
            "state_dict",
            "prefix model. taken off",
        ),
        # DeepSpeed's consolidated file, and what it writes beside.
        (lambda state: {"module": state, "ds_version": "0.14", "optimizer": None}, "module", None),
        (lambda state: {"state_dict": {"model": state}}, "state_dict.model", None),
    ],
)  # fmt: skip
def test_what_frameworks_wrap_around_a_state_dict_is_taken_off(tmp_path, wrap, container, note):
    state = plain_vit()
    found = inspect(saved(tmp_path, wrap(state)))
    assert found.container == container
    if container in ("model", "state_dict", ""):
        # Under bare names MAE's, DINO's and iBOT's files are told apart by the key that they lie under.
        assert found.family == {"model": "mae", "state_dict": "ibot", "": "dino"}[container]
        assert found.loading.complete and note in found.transformations


def test_code_is_listed_and_not_run(tmp_path):
    marker = tmp_path / "ran"
    path = saved(tmp_path, {"model": plain_vit(), "hook": Calls(marker)})
    found = inspect(path)
    assert found.unlisted == ["posix.system"] and "torch._utils._rebuild_tensor_v2" in found.globals
    assert found.family == "mae" and found.loading.complete and found.training["hook"] == "(posix.system, not made)"
    screen = " ".join(render(found).split())
    assert (
        "YES: it calls for posix.system; nothing of it was run" in screen and "refused without --trust-pickle" in screen
    )
    assert not marker.exists()
    with pytest.raises(UserError, match="calls for posix.system"):
        load_backbone(path)


def test_a_module_that_was_pickled_whole_is_described(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Sequential(torch.nn.BatchNorm1d(2)))
    for content in (model, {"model": model, "epoch": 1}):
        found = inspect(saved(tmp_path, content))
        assert [key["name"] for key in found.keys] == list(model.state_dict())
        assert "torch.nn.modules.linear.Linear" in found.unlisted


def test_an_unknown_family_is_described_with_the_nearest(tmp_path):
    found = inspect(
        saved(
            tmp_path,
            {"model": {**plain_vit(), "blocks.0.attn.strange_bias": torch.ones(2), "blocks.0.gamma_1": torch.ones(2)}},
        )
    )
    assert found.family is None and found.nearest[0][0] == "mae" and "blocks.0.gamma_1" in found.nearest[0][1]
    assert "nearest     mae, but it has blocks.0.gamma_1, which no file of this family has" in render(found, 100)
    other = inspect(saved(tmp_path, {"conv1.weight": torch.randn(8, 3, 3, 3)}))
    assert other.family is None and other.nearest == [] and "none: no family has any of these names" in render(other)


def test_a_file_without_tensors_is_described(tmp_path):
    found = inspect(saved(tmp_path, {"epoch": 3, "note": "nothing"}))
    assert found.containers == {} and "holds no tensors; its keys are epoch, note" in render(found)


def test_what_stands_beside_the_weights_is_said(tmp_path):
    beside = {
        "epoch": 799, "args": argparse.Namespace(model="mae_vit_large_patch16", lr=1e-3, names=["a"], big=np.float64(0.5)),
        "optimizer": {"state": {0: torch.ones(3)}, "param_groups": []}, "text": "x" * 5000,
    }  # fmt: skip
    found = inspect(saved(tmp_path, {"model": plain_vit(), **beside}))
    assert found.training["epoch"] == 799 and found.training["args"]["big"] == 0.5
    assert found.training["optimizer"]["state"]["0"] == "(float32 3)" and "(5,000 characters)" in found.training["text"]
    assert "beside      epoch 799, model mae_vit_large_patch16, lr 0.001" in render(found)


@pytest.mark.parametrize("format", ["zip", "legacy", "safetensors", "pickle"])
def test_values_that_cannot_be_are_found(tmp_path, format):
    state = plain_vit()
    state["blocks.0.mlp.fc1.weight"] = torch.randn(300, 300)  # longer than what is read whole
    state["blocks.0.mlp.fc1.weight"][:, ::7] = float("nan")
    state["blocks.1.attn.proj.weight"].zero_()
    state["cls_token"].fill_(0.5)
    state["pos_embed"][0, 0, 0] = float("inf")
    path = tmp_path / "x"
    if format == "safetensors":
        save_file(state, path)
    elif format == "pickle":
        path.write_bytes(pickle.dumps({"model": {name: tensor.numpy() for name, tensor in state.items()}}))
    else:
        torch.save({"model": state}, path, _use_new_zipfile_serialization=format == "zip")
    for deep in (False, True):
        health = inspect(path, deep=deep).health
        assert sorted(health.infinite) == ["blocks.0.mlp.fc1.weight", "pos_embed"]
        assert (
            health.zero == ["blocks.1.attn.proj.weight"] and health.constant == ["cls_token"] and not health.untrained
        )
    assert "NaN or infinite in" in render(inspect(path))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_samples_are_of_the_tensors_own_values(tmp_path, dtype):
    # Views, strides and offsets: the values in between belong to the neighbour.
    base = torch.zeros(400, 400, dtype=dtype)
    base[:, 200:] = torch.randn(400, 200).to(dtype)
    torch.save({"a": base[:, :200].contiguous(), "b": base.t(), "c": base[200:]}, tmp_path / "x.pth")
    health = inspect(tmp_path / "x.pth").health
    assert health.zero == ["a"]
    assert health.std["c"] == pytest.approx(float(base[200:].double().std()), rel=0.2)
    deep = inspect(tmp_path / "x.pth", deep=True).health
    assert deep.std["c"] == pytest.approx(float(base[200:].double().std(correction=0)), rel=1e-6)


def test_a_single_bad_value_in_a_large_tensor_is_found_by_deep_alone(tmp_path):
    state = {"w": torch.randn(1000, 1000), "v": torch.randn(3)}
    state["w"][501, 17] = float("nan")
    path = saved(tmp_path, state)
    assert inspect(path).health.infinite == [] and inspect(path, deep=True).health.infinite == ["w"]
    assert inspect(path).sha256 is None and len(inspect(path, deep=True).sha256) == 64


def test_deep_finds_damage_that_headers_do_not_show(tmp_path):
    path = saved(tmp_path, {"w": torch.randn(100_000)})
    data = bytearray(path.read_bytes())
    data[200_000] ^= 1
    path.write_bytes(data)
    inspect(path)
    with pytest.raises(UserError, match="wrong checksum of data/0"):
        inspect(path, deep=True)


def test_an_untrained_model_looks_untrained(tmp_path):
    from timm.models.vision_transformer import VisionTransformer

    model = VisionTransformer(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=0)
    found = inspect(saved(tmp_path, {"model": model.state_dict()}))
    assert "5 of 5 norms have weight 1" in found.health.untrained and "LOOKS UNTRAINED" in render(found)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 1e-4)
    assert inspect(saved(tmp_path, {"model": model.state_dict()})).health.untrained == ""


def test_missing_and_unexpected_tensors_are_said_before_loading(tmp_path):
    state = plain_vit()
    del state["blocks.1.mlp.fc2.bias"]
    found = inspect(saved(tmp_path, {"model": {**state, "strange.weight": torch.ones(2)}}))
    assert found.loading.missing == ["blocks.1.mlp.fc2.bias"] and found.loading.unexpected == ["strange.weight"]
    screen = render(found)
    assert "NOT AS IT IS" in screen and "missing     blocks.1.mlp.fc2.bias" in screen and "--waive" in screen


def test_a_name_that_is_near_a_missing_one_is_told(tmp_path):
    state = plain_vit()
    state["blocks.1.norm1.wieght"] = state.pop("blocks.1.norm1.weight")
    found = inspect(saved(tmp_path, {"model": state}))
    assert found.loading.near == {"blocks.1.norm1.weight": "blocks.1.norm1.wieght"}
    assert "nearest     blocks.1.norm1.wieght for blocks.1.norm1.weight" in render(found)
    json.dumps(found.as_dict())


def test_the_command_names_the_suite_of_the_architecture(tmp_path):
    def command(width, depth, patch):
        state = plain_vit(depth, width)
        state["patch_embed.proj.weight"] = torch.zeros(width, 3, patch, patch)
        return inspect(saved(tmp_path, {"model": state}, "my file.pth"))

    demo = command(64, 4, 4)
    assert (
        demo.command
        == f"mimeval transfer '{tmp_path}/my file.pth' --suite configs/suites/demo.py --data data/demo --out 'work_dirs/my file'"
    )
    other = command(32, 2, 8)
    assert "--suite SUITE.py --data DATA" in other.command and "no suite is shipped for ViT width 32" in other.remark


def test_every_suite_that_is_named_is_shipped_and_as_it_is_said():
    from mimeval.checkpoints.encoder import is_windowed
    from mimeval.checkpoints.next_step import SUITES
    from mimeval.engine.config import find_config, load_config
    from mimeval.registry import MODELS

    for (kind, width, depth), said in SUITES.items():
        suite = load_config(f"configs/suites/{said.name}.py")
        if kind == "swin" and suite.get("swin"):
            suite = load_config(f"configs/suites/{suite.swin}")
        assert sorted(suite.tasks) == sorted(said.tasks)
        maps, windowed = [], []
        for task, entry in suite.tasks.items():
            config = load_config(str((find_config(f"configs/suites/{said.name}.py").parent / entry.config).resolve()))
            backbone = {**config.model.backbone, "init_cfg": None}
            with torch.device("meta"):
                built = MODELS.build(backbone)
            state = built.state_dict()
            assert state["patch_embed.proj.weight"].shape[0] == width
            blocks = {key.split(".mlp.")[0] for key in state if ".mlp." in key}
            assert len(blocks) == depth and ("Swin" in backbone["type"]) == (kind == "swin")
            maps += [task] if backbone["out_type"] == "maps" else []
            windowed += [task] if kind == "vit" and is_windowed(backbone) else []
            if kind == "vit" and backbone["out_type"] == "maps":
                assert state["patch_embed.proj.weight"].shape[-1] == said.patch_size
        assert sorted(maps) == sorted(said.maps) and (kind == "swin" or windowed == list(said.windowed))


def test_the_command_leaves_out_what_no_recipe_can_have(tmp_path):
    patches = {"patch_embed.proj.weight": torch.zeros(768, 3, 14, 14), "pos_embed": torch.randn(1, 257, 768)}
    found = inspect(saved(tmp_path, {"model": {**plain_vit(12, 768), **patches}}))
    assert "--suite configs/suites/standard.py --tasks knn,linear,finetune --data DATA" in found.command
    assert (
        "segmentation cannot have this encoder: its maps have steps of 16 pixels, and the encoder's patches 14"
        in found.remark
    )


def test_numbers_are_short():
    assert [size(n) for n in (0, 999, 1213275247, 985688)] == ["0 bytes", "999 bytes", "1.21 GB", "985.7 kB"]
    assert [count_of(n) for n in (768, 12_345, 303_301_632)] == ["768", "12.3 k", "303.3 M"]


def test_the_names_of_the_package_are_its_functions():
    # Those of its modules, too, whichever is imported first.
    code = (
        "import mimeval.checkpoints.convert, mimeval.checkpoints.inspect\n"
        "from mimeval.checkpoints import convert, inspect, load_backbone\n"
        "assert all(callable(name) for name in (convert, inspect, load_backbone)), (convert, inspect)\n"
        "from mimeval.checkpoints.convert import convert as same\n"
        "assert same is convert\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_inspecting_imports_no_backbones():
    # They take seconds, which a look at a file should not.
    code = (
        "import sys\nfrom mimeval.checkpoints import inspect\n"
        "heavy = {'timm', 'torchvision', 'mmengine.model', 'transformers'} & sys.modules.keys()\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
