import os
import stat

import pytest

from mimeval.files import write_whole


def test_a_file_appears_whole_with_the_folders_on_the_way(tmp_path):
    path = tmp_path / "a" / "b.txt"
    write_whole(path, lambda temporary: temporary.write_text("text"))
    assert path.read_text() == "text"
    assert [entry.name for entry in path.parent.iterdir()] == ["b.txt"]


def test_a_failing_writer_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        write_whole(path, fail)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_what_is_renamed_is_on_the_disk_before(tmp_path, monkeypatch):
    events = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (events.append("sync"), sync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *names: (events.append("rename"), replace(*names)))
    write_whole(tmp_path / "a.txt", lambda temporary: temporary.write_text("text"))
    assert events == ["sync", "rename", "sync"]


def test_others_may_read_it_as_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "a.txt", lambda temporary: temporary.write_text("text"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640
