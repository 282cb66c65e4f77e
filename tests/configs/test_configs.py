"""Every shipped config opens with what a reader needs, builds, and has the size that its papers state."""

import ast
import re
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope

from mimeval.engine.config import load_config
from mimeval.engine.environment import setup_environment
from mimeval.registry import MODELS

CONFIGS = Path(__file__).parents[2] / "configs"
RUNNABLE = sorted(
    path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.py") if path.parts[-2] not in ("_base_", "suites")
)
LABELS = ("published", "reproduced here", "reproduced by", "not run")

# Parameters in all, fixed position tables included. Pre-training and classification: counted on the official models.
# ViTDet-B is published as 111 M, UperNet with BEiT-B as 163 M (without MAE's absolute positions and our auxiliary head).
PARAMETERS = {
    "mae_vitb.py": 111_907_840,
    "mae_vitl.py": 329_541_888,
    "emae_vitb.py": 111_907_840,
    "emae_vitl.py": 329_541_888,
    "transfer/knn_vitb.py": 85_798_656,
    "transfer/linear_vitb.py": 86_567_656,
    "transfer/finetune_vitb.py": 86_567_656,
    "transfer/maskrcnn_vitdet_vitb.py": 110_895_792,
    "transfer/upernet_vitb.py": 163_877_228,
}


@pytest.mark.parametrize("name", RUNNABLE)
def test_header_says_how_to_run_and_what_to_expect(name):
    header = ast.get_docstring(ast.parse((CONFIGS / name).read_text()))
    for line in ("COMMAND", "hardware", "sources", "expected"):
        assert re.search(rf"^{line} +\S", header, re.MULTILINE), f"{name} lacks a line '{line}'"
    expected = header[header.index("\nexpected") :]
    assert any(label in expected for label in LABELS), f"{name}: the expected figure has no label of {LABELS}"


def test_every_paper_scale_config_is_counted():
    assert set(PARAMETERS) == {name for name in RUNNABLE if not name.startswith("demo/")}


@pytest.mark.parametrize("name", PARAMETERS)
def test_models_have_the_papers_size(name):
    setup_environment()
    config = load_config(f"configs/{name}")
    with DefaultScope.overwrite_default_scope("mimeval"), torch.device("meta"):
        model = MODELS.build(config.model)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]
