"""The folder of a run: writable or refused, and left as it was when the run does not begin."""

from __future__ import annotations

import os
import re

import pytest
import torch

from mimeval.engine.outputs import WorkDir, checkpoint_names, checkpoint_of, latest_checkpoint
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


def save(path, iteration):
    torch.save({"meta": {"iter": iteration}, "state_dict": {"x": torch.arange(5000.0)}}, path)


def note(folder, name, later_than=None):
    (folder / "last_checkpoint").write_text(f"/where/it/was/before/{name}")
    if later_than is not None:
        seen = (folder / later_than).stat().st_mtime_ns
        os.utime(folder / "last_checkpoint", ns=(seen, seen + 10**9))


def test_the_latest_checkpoint_is_the_one_that_has_seen_most(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    for name, iteration in (("epoch_2", 20), ("epoch_10", 100), ("iter_30", 30), ("best_acc", 200)):
        save(tmp_path / f"{name}.pth", iteration)
    assert latest_checkpoint(tmp_path).name == "epoch_10.pth"
    save(tmp_path / "iter_105.pth", 105)
    assert latest_checkpoint(tmp_path).name == "iter_105.pth"
    assert checkpoint_names(tmp_path) == ["epoch_10.pth", "epoch_2.pth", "iter_105.pth", "iter_30.pth"]


def test_who_went_back_to_an_earlier_checkpoint_goes_on_from_there(tmp_path):
    for name, iteration in (("epoch_2", 20), ("epoch_10", 100), ("epoch_1", 10)):
        save(tmp_path / f"{name}.pth", iteration)
    note(tmp_path, "epoch_2.pth", later_than="epoch_1.pth")
    assert latest_checkpoint(tmp_path).name == "epoch_2.pth"
    note(tmp_path, "epoch_3.pth")
    assert latest_checkpoint(tmp_path).name == "epoch_10.pth", "what is noted is not there"


def test_a_checkpoint_that_was_not_noted_any_more_is_the_latest_all_the_same(tmp_path):
    save(tmp_path / "epoch_2.pth", 20)
    note(tmp_path, "epoch_2.pth")
    save(tmp_path / "epoch_3.pth", 30)
    later = (tmp_path / "last_checkpoint").stat().st_mtime_ns + 10**9
    os.utime(tmp_path / "epoch_3.pth", ns=(later, later))
    assert latest_checkpoint(tmp_path).name == "epoch_3.pth"


@pytest.mark.parametrize(
    "damage, says",
    [
        (lambda whole: whole[: len(whole) // 2], "is cut short"),
        (lambda whole: b"", "is empty"),
        (lambda whole: whole[:-20000] + bytes(10000) + whole[-10000:], "is damaged .wrong checksum of"),
        (lambda whole: b"no checkpoint", "is no checkpoint"),
    ],
)
@pytest.mark.parametrize("noted", [True, False])
def test_a_damaged_checkpoint_is_passed_over_with_a_word(tmp_path, capsys, damage, says, noted):
    for number in (1, 2, 3):
        save(tmp_path / f"epoch_{number}.pth", 10 * number)
    if noted:
        note(tmp_path, "epoch_3.pth")
    file = tmp_path / "epoch_3.pth"
    file.write_bytes(damage(file.read_bytes()))
    assert latest_checkpoint(tmp_path).name == "epoch_2.pth"
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(f"^mimeval: .*epoch_3.pth {says}.*; the one before, epoch_2.pth, is used instead$", line)


def test_all_damaged_is_none(tmp_path, capsys):
    (tmp_path / "epoch_1.pth").touch()
    assert latest_checkpoint(tmp_path) is None
    assert "epoch_1.pth is empty" in capsys.readouterr().err


def test_a_runs_folder_stands_for_its_newest_checkpoint(tmp_path):
    save(tmp_path / "epoch_4.pth", 4)
    assert checkpoint_of(tmp_path) == tmp_path / "epoch_4.pth"
    assert checkpoint_of(tmp_path / "epoch_4.pth") == tmp_path / "epoch_4.pth"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: expected a checkpoint file or the folder of a run"):
        checkpoint_of(tmp_path / "empty")
