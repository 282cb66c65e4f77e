import os
import stat

import pytest

from mimeval.errors import UserError
from mimeval.transfer.report import write_report
from tests.transfer.report.folders import record, results


def test_both_files_stand_in_the_folder_and_nothing_else(tmp_path):
    folder = results(tmp_path / "run", [record()])
    written = write_report(folder)
    assert (written.html, written.markdown) == (folder / "report.html", folder / "report.md")
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.md", "results.jsonl"]


def test_out_is_made_and_the_run_left_alone(tmp_path):
    folder = results(tmp_path / "run", [record()])
    write_report(folder, tmp_path / "a" / "b")
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == ["report.html", "report.md"]
    assert [path.name for path in folder.iterdir()] == ["results.jsonl"]


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    folder = results(tmp_path / "run", [record()])
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"report\.html cannot be written.*--out"):
        write_report(folder, tmp_path / "file" / "out")


def test_a_failed_write_leaves_the_old_report_and_no_rest(tmp_path, monkeypatch):
    folder = results(tmp_path / "run", [record(value=11.1)])
    old = write_report(folder).html.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        write_report(folder)
    assert (folder / "report.html").read_bytes() == old
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.md", "results.jsonl"]


def test_others_may_read_the_report_as_the_umask_says(tmp_path):
    folder = results(tmp_path / "run", [record()])
    before = os.umask(0o022)
    try:
        written = write_report(folder)
    finally:
        os.umask(before)
    assert stat.S_IMODE(written.html.stat().st_mode) == 0o644
