"""The set-up of a process: quiet about others' code, loud about ours, threads that fit."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
from mmengine.runner.checkpoint import CheckpointLoader

from mimeval.engine import environment
from mimeval.engine.environment import setup_environment, usable_cores
from mimeval.errors import UserError
from mimeval.quiet import filter_warnings, without_prints


def test_third_party_warnings_are_filtered_and_ours_are_not():
    with warnings.catch_warnings(record=True) as seen:
        filter_warnings()
        for module in ("torch.jit._script", "mmengine", "imgaug.augmenters", "mimeval.pretrain", "torchlike"):
            warnings.warn_explicit(f"from {module}", UserWarning, "file.py", 1, module)
    assert [str(warning.message) for warning in seen] == ["from mimeval.pretrain", "from torchlike"]


def test_prints_are_dropped_and_come_back(capsys):
    with without_prints():
        print("loading annotations into memory...")
    print("ours")
    assert capsys.readouterr().out == "ours\n"


def test_a_container_quota_limits_the_cores(monkeypatch, tmp_path):
    monkeypatch.setattr(environment.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(environment, "Path", lambda _: quota)
    assert usable_cores() == 64
    quota.write_text("150000 100000\n")
    assert usable_cores() == 2
    quota.write_text("max 100000\n")
    assert usable_cores() == 64


def test_checkpoints_are_read_by_the_safe_loader_afterwards():
    setup_environment()
    with pytest.raises(UserError, match="does not download"):
        CheckpointLoader.load_checkpoint("https://example.org/model.pth")


def test_the_terminal_stays_quiet_while_everything_is_imported():
    code = "import mimeval.engine.environment as e; e.setup_environment(); "
    code += "import mmdet.datasets, mmseg.datasets, mmpretrain.datasets, mmdet.models"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
