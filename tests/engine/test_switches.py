"""compile, gradient checkpointing and bf16 in two processes: the steps of a plain run, and the same layer ids."""

from __future__ import annotations

import os
import shutil

import pytest
from torch._dynamo.utils import counters

from mimeval.datasets.demo import DemoSpec, generate
from mimeval.engine.runner import build_runner
from tests.engine.ranks import in_ranks
from tests.engine.steps import configure, difference, trained

# Without MIMEVAL_LONG_TESTS the graphs are taken and differentiated, but not turned into C++, which takes minutes.
LONG = bool(os.environ.get("MIMEVAL_LONG_TESTS"))
COMPILE = "+compile=True" if LONG else "+compile={'backend':'aot_eager'}"
SWITCHES = {
    "compile": (COMPILE,),
    "checkpointing": ("+model.backbone.grad_checkpointing=True",),
    "bf16": ("optim_wrapper.precision=bf16",),
    "bf16, checkpointing and fsdp": (
        "+fsdp=True",
        "+model.backbone.grad_checkpointing=True",
        "optim_wrapper.precision=bf16",
    ),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("data") / "demo", DemoSpec(train=40, val=30, seed=1))


def run(data, folder, options):
    def work():
        cfg = configure("finetune", data, folder, (*options, *short), launcher="pytorch")
        groups = build_runner(cfg).build_optim_wrapper(cfg.optim_wrapper).optimizer.param_groups
        counters.clear()
        found = trained(cfg)
        assert bool(counters["frames"]["ok"]) == bool(cfg.get("compile")), "what was to be compiled was not"
        return found | {"groups": [(g["param_names"], g["layer_id"], g["lr"]) for g in groups]}

    short = ("train_cfg.max_epochs=1", "train_dataloader.batch_size=10")
    return in_ranks(work)[0]


@pytest.fixture(scope="module")
def plain(data, tmp_path_factory):
    return run(data, tmp_path_factory.mktemp("plain"), ())


@pytest.mark.parametrize("name", SWITCHES)
def test_two_processes_train_with(name, plain, data, tmp_path):
    if LONG and COMPILE in SWITCHES[name] and not shutil.which("g++"):
        pytest.skip("torch.compile needs a C++ compiler on the CPU")
    found = run(data, tmp_path, SWITCHES[name])
    assert found.pop("groups") == plain["groups"]
    differences = {part: difference(found[part], plain[part]) for part in found}
    print(name, {part: f"{value:.1e}" for part, value in differences.items()})
    tolerance = 1e-6 if "bf16" not in " ".join(SWITCHES[name]) else 1e-2
    assert all(value < tolerance for value in differences.values())
    assert ("bf16" in " ".join(SWITCHES[name])) == (differences["losses"] > 1e-6)
