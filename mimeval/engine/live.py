"""Progress for people: one line that changes in place on a terminal, a plain line now and then anywhere else."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TextIO


def say(sentence: str) -> None:
    """A sentence that stays on the terminal, once for all processes of a run."""
    if os.environ.get("RANK", "0") == "0":
        fresh_line = "\r\033[K" if sys.stderr.isatty() else ""  # a line of progress may stand there without its end
        print(f"{fresh_line}mimeval: {sentence}", file=sys.stderr, flush=True)


class LiveLine:
    """`update` shows the latest state (in a log file: at most every `every` seconds), `note` leaves a line for good."""

    def __init__(self, stream: TextIO | None = None, every: float = 30.0, prefix: str = "") -> None:
        self.stream = sys.stderr if stream is None else stream
        self.every = every
        self.prefix = prefix
        # Set for the workers of one terminal, which would overwrite each other's line.
        self.live = self.stream.isatty() and not os.environ.get("MIMEVAL_PLAIN_PROGRESS")
        # One process of a run speaks for all.
        self.silent = os.environ.get("RANK", "0") != "0"
        self._shown = ""
        # The first line comes at once: silence for half a minute looks like a hang.
        self._last = -float("inf")

    def update(self, text: str) -> None:
        """Replace the line on a terminal (at most 10 times a second), or print it if the last is old enough."""
        now = time.monotonic()
        if self.silent or now - self._last < (0.1 if self.live else self.every):
            return
        self._last = now
        text = self.prefix + text
        if not self.live:
            print(text, file=self.stream, flush=True)
            return
        # A line longer than the terminal would wrap, and only its last row could be replaced.
        text = text[: shutil.get_terminal_size().columns - 1]
        self.stream.write("\r" + text.ljust(len(self._shown)))
        self.stream.flush()
        self._shown = text

    def note(self, text: str) -> None:
        """Print a line that stays, above the live one."""
        if self.silent:
            return
        self.clear()
        print(self.prefix + text, file=self.stream, flush=True)

    def clear(self) -> None:
        """Take the live line away."""
        if self._shown:
            self.stream.write("\r" + " " * len(self._shown) + "\r")
            self.stream.flush()
            self._shown = ""
