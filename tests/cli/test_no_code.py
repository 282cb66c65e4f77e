"""No verb runs what a checkpoint holds: each of them, given a file that would leave a mark, says so and leaves none."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from mimeval.cli.main import main
from mimeval.datasets.demo import DemoSpec, generate
from mimeval.engine.config import load_config
from mimeval.engine.environment import setup_environment
from mimeval.registry import MODELS

DEMO, TUNE = "configs/demo/emae_demo.py", "configs/demo/finetune_demo.py"
SHORT = ["train_cfg.max_epochs=1", "param_scheduler.0.warmup=0", "train_dataloader.batch_size=8"]
CENTRES = "model.targets.0.centres"
BACKBONE = (
    "tokenizer.vectors={'type': 'BackbonePatches', 'backbone': {'type': 'VisionTransformer', 'patch_size': 4, 'img_size': 32, "
    "'arch': {'embed_dim': 64, 'depth': 4, 'num_heads': 4}, 'init_cfg': {'type': 'Pretrained', 'checkpoint': 'CKPT'}}}"
)


class Calls:
    """Unpickled, it leaves a mark."""

    def __init__(self, marker: Path):
        self.marker = str(marker)

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    setup_environment()
    return generate(tmp_path_factory.mktemp("data") / "demo", DemoSpec(train=40, val=30, seed=1))


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    setup_environment()
    return MODELS.build(dict(load_config("demo/knn_demo").model.backbone, frozen=False)).state_dict()


@pytest.fixture
def marker(tmp_path) -> Path:
    return tmp_path / "ran"


def malicious(kind: str, folder: Path, marker: Path, state: dict) -> Path:
    """A checkpoint of the demo's backbone with a call in it, in every format that can hold one."""
    content = {
        "model": state,
        "state_dict": state,
        "meta": {"iter": 1, "epoch": 1, "format": "mimeval-tokenizer"},
        "x": Calls(marker),
    }
    folder.mkdir()
    path = folder / "epoch_1.pth"
    if kind == "shards":
        torch.save({**state, "x": Calls(marker)}, folder / "a.bin")
        path.write_text(json.dumps({"weight_map": dict.fromkeys([*state, "x"], "a.bin")}))
    elif kind == "pickle":
        plain = {name: tensor.numpy() for name, tensor in state.items()}
        path.write_bytes(pickle.dumps({**content, "model": plain, "state_dict": plain}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    return path


def initialised(kind: str, file: Path) -> str:
    return f"+model.backbone.init_cfg={{'type': '{kind}', 'checkpoint': '{file}'}}"


COMMANDS = {
    "convert": lambda f, d, o: ["convert", f, o / "x.pth"],
    "convert a folder": lambda f, d, o: ["convert", f.parent, o / "x.pth"],
    "transfer": lambda f, d, o: ["transfer", f, "--data", d, "--out", o, "--tasks", "knn", "--no-random"],
    "transfer a folder": lambda f, d, o: ["transfer", f.parent, "--data", d, "--out", o, "--tasks", "knn", "--no-random"],
    "resume": lambda f, d, o: ["train", DEMO, "--data", d, "--work-dir", o, "--resume", f, "--cfg-options", *SHORT],
    "resume the latest": lambda f, d, o: ["train", DEMO, "--data", d, "--work-dir", f.parent, "--resume", "--cfg-options", *SHORT],
    "load_from": lambda f, d, o: ["train", DEMO, "--data", d, "--work-dir", o, "--cfg-options", *SHORT, f"+load_from={f}"],
    "init_cfg": lambda f, d, o: ["train", TUNE, "--data", d, "--work-dir", o, "--cfg-options", *SHORT, initialised("Pretrained", f)],
    "init_cfg of mmengine": lambda f, d, o: [
        "train", TUNE, "--data", d, "--work-dir", o, "--cfg-options", *SHORT, initialised("mmengine.Pretrained", f),
    ],
    "test": lambda f, d, o: ["test", TUNE, f, "--data", d, "--work-dir", o],
    "centres": lambda f, d, o: [
        "train", "configs/demo/clustermim_demo.py", "--data", d, "--work-dir", o, "--cfg-options", *SHORT, f"{CENTRES}={f}",
    ],
    "tokenizer's backbone": lambda f, d, o: [
        "tokenize", "fit", "demo/tokens_demo", "--data", d, "--out", o / "x.safetensors", "--cfg-options", BACKBONE.replace('CKPT', str(f)),
    ],
    "tcas": lambda f, d, o: ["analyze", "tcas", f, d],
    "heterogeneity": lambda f, d, o: ["analyze", "heterogeneity", DEMO, f, d],
    "bench": lambda f, d, o: ["bench", "step", TUNE, "--batch", "2", "--repeats", "1", "--cfg-options", initialised("Pretrained", f)],
}  # fmt: skip
# Verbs that never look at the checkpoint.
IGNORANT = ("bench",)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle", "shards"])
@pytest.mark.parametrize("name", COMMANDS)
def test_no_verb_runs_a_checkpoint(name, kind, data, state, marker, tmp_path, capsys):
    file = malicious(kind, tmp_path / "run", marker, state)
    arguments = [str(argument) for argument in COMMANDS[name](file, data, tmp_path / "out")]
    code = main(arguments)
    said = capsys.readouterr().err.strip().splitlines()
    assert not marker.exists()
    assert code == (0 if name in IGNORANT else 2), said
    if name not in IGNORANT:
        assert said[-1].startswith("mimeval: ")
        assert any("calls for posix.system, which no checkpoint needs" in line for line in said), said


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle", "shards"])
@pytest.mark.parametrize("flags", [[], ["--deep"], ["--json"]])
def test_inspect_lists_the_call_and_does_not_make_it(kind, flags, state, marker, tmp_path, capsys):
    file = malicious(kind, tmp_path / "run", marker, state)
    assert main(["inspect", str(file), *flags]) == 0
    assert "posix.system" in capsys.readouterr().out and not marker.exists()


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_trust_is_a_word_and_means_it(kind, state, marker, tmp_path):
    # The files above are real: this flag, and nothing else, runs them.
    file = malicious(kind, tmp_path / "run", marker, state)
    assert main(["convert", str(file), str(tmp_path / "x.safetensors")]) == 2 and not marker.exists()
    main(["convert", str(file), str(tmp_path / "x.safetensors"), "--trust-pickle"])
    assert marker.exists()


def test_a_config_in_a_checkpoint_is_not_run(state, data, marker, tmp_path):
    # mmengine's resume executes meta['config'].
    meta = {
        "iter": 1,
        "epoch": 1,
        "config": f"open({str(marker)!r}, 'w').close()",
        "cfg": f"open({str(marker)!r}, 'w').close()",
    }
    (tmp_path / "run").mkdir()
    torch.save({"state_dict": state, "meta": meta}, tmp_path / "run" / "epoch_1.pth")
    for name in ("resume", "transfer", "convert", "heterogeneity", "test"):
        file = tmp_path / "run" / "epoch_1.pth"
        main([str(argument) for argument in COMMANDS[name](file, data, tmp_path / name)])
        assert not marker.exists()
        shutil.rmtree(tmp_path / name, ignore_errors=True)
