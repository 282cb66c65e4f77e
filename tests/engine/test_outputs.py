"""The folder of a run: writable or refused, and left as it was when the run does not begin."""

from __future__ import annotations

import pytest

from mimeval.engine.outputs import WorkDir, checkpoint_of, latest_checkpoint
from mimeval.errors import UserError


def test_a_new_folder_goes_with_the_parents_made_for_it(tmp_path):
    output = WorkDir(tmp_path / "a" / "b" / "run")
    (output.path / "log").mkdir()
    (output.path / "log" / "x.log").write_text("x")
    output.discard()
    assert list(tmp_path.iterdir()) == []


def test_what_others_put_there_stays(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "epoch_1.pth").write_text("mine")
    output = WorkDir(tmp_path / "run")
    (output.path / "new.log").write_text("x")
    output.discard()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["epoch_1.pth"]


def test_a_parent_that_another_run_uses_stays(tmp_path):
    output = WorkDir(tmp_path / "runs" / "one")
    (tmp_path / "runs" / "two").mkdir()
    output.discard()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["two"]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="--work-dir .*file/run: expected a folder that can be written"):
        WorkDir(tmp_path / "file" / "run")
    with pytest.raises(UserError, match="--work-dir"):
        WorkDir(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "not a folder"


def test_the_latest_checkpoint(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    for name in ("epoch_2.pth", "epoch_10.pth", "best_acc.pth"):
        (tmp_path / name).touch()
    assert latest_checkpoint(tmp_path).name == "epoch_10.pth"
    (tmp_path / "last_checkpoint").write_text("/where/it/was/before/epoch_2.pth")
    assert latest_checkpoint(tmp_path).name == "epoch_2.pth"
    (tmp_path / "last_checkpoint").write_text("/gone/epoch_3.pth")
    assert latest_checkpoint(tmp_path).name == "epoch_10.pth"


def test_a_runs_folder_stands_for_its_newest_checkpoint(tmp_path):
    (tmp_path / "epoch_4.pth").touch()
    assert checkpoint_of(tmp_path) == tmp_path / "epoch_4.pth"
    assert checkpoint_of(tmp_path / "epoch_4.pth") == tmp_path / "epoch_4.pth"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: expected a checkpoint file or the folder of a run"):
        checkpoint_of(tmp_path / "empty")
