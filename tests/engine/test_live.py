"""Progress: in place on a terminal, now and then in a file."""

from __future__ import annotations

import io

from mimeval.engine import live
from mimeval.engine.live import LiveLine


class Terminal(io.StringIO):
    def isatty(self):
        return True


def clock(monkeypatch, *times):
    moments = iter(times)
    monkeypatch.setattr(live.time, "monotonic", lambda: next(moments))


def test_a_log_file_gets_a_line_every_so_often(monkeypatch):
    clock(monkeypatch, 0, 5, 9, 10, 12)
    stream = io.StringIO()
    line = LiveLine(stream, every=10, prefix="knn  ")
    for step in range(5):
        line.update(f"step {step}")
    line.note("done")
    assert stream.getvalue() == "knn  step 0\nknn  step 3\nknn  done\n"


def test_a_terminal_gets_one_line_that_is_overwritten_whole(monkeypatch):
    clock(monkeypatch, 0, 1, 1.05)
    stream = Terminal()
    line = LiveLine(stream)
    line.update("a longer text")
    line.update("short")
    line.update("too soon")
    line.note("done")
    assert stream.getvalue() == "\ra longer text\rshort        \r     \rdone\n"


def test_a_line_never_wraps(monkeypatch):
    clock(monkeypatch, 0)
    monkeypatch.setattr(live.shutil, "get_terminal_size", lambda: live.shutil.os.terminal_size((20, 4)))
    stream = Terminal()
    LiveLine(stream).update("x" * 50)
    assert stream.getvalue() == "\r" + "x" * 19
