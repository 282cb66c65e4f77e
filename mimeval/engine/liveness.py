"""Who holds the others up: what each process notes about itself, and what it reads in the notes of the others.

A note has the host and process id, the iteration, the phase (data, forward, backward, done, ...), the number of phases so far and
the seconds since the last one. Every process publishes its own in the process group's store, from a thread, and reads the others'.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

EXIT_CODE = 1
# A first step compiles, fills caches and starts workers: no timeout below this one counts before it is done.
FIRST_STEP_S = 1800.0
# How long a process has to leave by itself after another has announced its error; often it meets the same one.
OWN_WORDS_S = 5.0
FAULT = "fault"


@dataclass
class _Heard:
    """The latest note of a process, and when it was first read (this process's clock)."""

    note: dict[str, Any] = field(default_factory=dict)
    at: float = 0.0

    def silent_s(self, now: float) -> float:
        return now - self.at

    def stuck_s(self, now: float) -> float:
        """Seconds without a step: those that it noted itself, and those since."""
        return self.note["age"] + self.silent_s(now)


class Heartbeat:
    """The notes of one process and what it knows of the others'.

    store: a connection of its own, as a blocking call of another thread would hold it up. timeout_s: seconds without a
    step, counted once the first one is done, after which this process ends. interval_s: between two notes.
    """

    def __init__(
        self, store: Any, rank: int, world_size: int, timeout_s: float, interval_s: float | None = None
    ) -> None:
        self.store, self.rank, self.world_size, self.timeout_s = store, rank, world_size, timeout_s
        # Every process reads every note, so that larger groups write less often.
        widened = max(1.0, world_size / 64)
        self.interval_s = widened * min(5.0, max(0.1, timeout_s / 10)) if interval_s is None else interval_s
        self.iteration, self.phase, self.steps, self.since = 0, "start", 0, time.monotonic()
        self.is_first = True
        self.who = {"host": socket.gethostname(), "pid": os.getpid(), "space": _pid_space()}
        self.heard: dict[int, _Heard] = {}
        self.beats = 0
        self.store_lost = False
        self._complete = False
        self._fault_since: float | None = None
        self._end = threading.Event()
        self._speaking = threading.Lock()
        self._noting = threading.RLock()
        self._thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Publish the first note and begin to watch."""
        self._publish()
        self._thread.start()

    def stop(self) -> None:
        """This process has finished; the others do not wait for its notes any more."""
        self.at("finished")
        self._end.set()
        self._publish()
        self.rest()

    def rest(self) -> None:
        """Watch and write no more. Python aborts where it ends while a thread is inside of torch's store."""
        self._end.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=5.0)

    def at(self, phase: str, iteration: int | None = None) -> None:
        """The main thread has come to a phase. Every process calls it at the same points of the program."""
        self.is_first &= phase != "done"
        self.iteration = self.iteration if iteration is None else iteration
        self.phase, self.since = phase, time.monotonic()
        self.steps += 1

    def alive(self, stepped: bool = False) -> None:
        """The main thread moves within its phase; processes may call it at different times. `stepped`: by a batch."""
        self.is_first &= not stepped
        self.since = time.monotonic()

    def announce(self, words: str) -> None:
        """Leave the sentence with which this process ends for the others; the first one counts."""
        fault = json.dumps({"rank": self.rank, "words": words[:500]})
        self._try(lambda: self.store.compare_set(FAULT, "", fault))
        self._try(lambda: self.store.set(f"{FAULT}{self.rank}", fault))

    def said_by_first(self, words: str, wait_s: float) -> bool:
        """Whether the first process ends with the same sentence within `wait_s` seconds: it is to be read once."""
        end = time.monotonic() + wait_s
        while self.rank != 0 and time.monotonic() < end:
            if self._try(lambda: self.store.check([f"{FAULT}0"])):
                said = self._try(lambda: self.store.get(f"{FAULT}0"))
                return said is not None and json.loads(said)["words"] == words[:500]
            time.sleep(0.1)
        return False

    def _limit_s(self) -> float:
        return max(self.timeout_s, FIRST_STEP_S) if self.is_first else self.timeout_s

    def _try(self, call: Any) -> Any:
        """What the store answers, None where it does not."""
        try:
            answer = call()
        except Exception:  # torch has half a dozen types for a store that is gone
            self.store_lost = True
            return None
        self.store_lost = False
        return answer

    def _publish(self) -> None:
        with self._noting:
            self.beats += 1
            place = {"steps": self.steps, "iteration": self.iteration, "phase": self.phase}
            note = self.who | place | {"age": time.monotonic() - self.since, "beat": self.beats}
            self._try(lambda: self.store.set(f"rank{self.rank}", json.dumps(note)))

    def _read(self) -> None:
        """Take in the notes of the others."""
        others = [rank for rank in range(self.world_size) if rank != self.rank]
        keys = [f"rank{rank}" for rank in others]
        if not others:
            return
        with self._noting:
            if not self._complete:  # reading a key that nobody has written yet would block
                self._complete = bool(self._try(lambda: self.store.check(keys)))
            notes = self._try(lambda: self.store.multi_get(keys)) if self._complete else None
            now = time.monotonic()
            for rank, text in zip(others, notes or [], strict=False):
                note = json.loads(text)
                heard = self.heard.setdefault(rank, _Heard())
                if heard.note.get("beat") != note["beat"]:
                    heard.note, heard.at = note, now

    def _watch(self) -> None:
        while not self._end.wait(self.interval_s):
            self._publish()
            self._read()
            now = time.monotonic()
            fault = self._fault()
            if fault and self._fault_since is None:
                self._fault_since = now
            told = self._fault_since is not None and now - self._fault_since > OWN_WORDS_S
            late = self._stuck_s(now) > self._limit_s()
            if (told or late or self._dead()) and not self._end.is_set():
                self.leave(self.explain())

    def _stuck_s(self, now: float) -> float:
        """How long the process that all others wait for has not moved. One that waits for a busy one is not stuck."""
        places = [(self.steps, now - self.since)]
        places += [(heard.note["steps"], heard.stuck_s(now)) for heard in self._unfinished().values()]
        least = min(steps for steps, _ in places)
        return max(stuck for steps, stuck in places if steps == least)

    def _unfinished(self) -> dict[int, _Heard]:
        with self._noting:
            return {rank: heard for rank, heard in self.heard.items() if heard.note["phase"] != "finished"}

    def _fault(self) -> dict[str, Any] | None:
        """What another process announced."""
        if not self._try(lambda: self.store.check([FAULT])):
            return None
        text = self._try(lambda: self.store.get(FAULT))
        fault = json.loads(text) if text else {"rank": self.rank}
        return None if fault["rank"] == self.rank else fault

    def _dead(self) -> list[int]:
        """Processes of this machine that are gone without a word."""
        if not self._gone():
            return []
        self._read()  # their last words may have come after those that were read before
        return self._gone()

    def _gone(self) -> list[int]:
        here = (self.who["host"], self.who["space"])
        return [
            rank
            for rank, heard in self._unfinished().items()
            if here[1] and (heard.note["host"], heard.note["space"]) == here and not _runs(heard.note["pid"])
        ]

    def lost(self, wait_s: float) -> str | None:
        """The sentence about a process that has died, gone silent or announced an error; None if none has by `wait_s` seconds."""
        end = time.monotonic() + wait_s
        silent_s = max(3.0, 3 * self.interval_s)
        while True:
            self._read()
            now = time.monotonic()
            silent = any(heard.silent_s(now) > silent_s for heard in self._unfinished().values())
            if self._fault() or self._dead() or silent:
                return self.explain()
            if now > end:
                return None
            time.sleep(0.1)

    def explain(self) -> str:
        """One sentence: who is behind, where it was last heard and how long ago, where this process is, how to go on."""
        fault = self._fault()
        own = f"this is rank {self.rank}, in {_place(self.iteration, self.phase)}"
        go_on = "run the same command with --resume to go on from the last checkpoint"
        if fault:
            return f"rank {fault['rank']} ended with: {fault['words']} ({own})"
        now = time.monotonic()
        others = self._unfinished()
        dead = self._dead()
        silent_s = max(3.0, 3 * self.interval_s)
        silent = [rank for rank, heard in others.items() if heard.silent_s(now) > silent_s]
        least = min((heard.note["steps"] for heard in others.values()), default=self.steps)
        behind = [rank for rank, heard in others.items() if heard.note["steps"] == least < self.steps]
        if dead:
            who, what = dead, "died"
        elif self.store_lost:
            who, what = [0], f"no longer answers at {os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        elif silent:
            who, what = silent, "no longer answers"
        elif behind:
            who, what = behind, "does not go on"
        elif self.steps < least:
            waited = now - self.since
            return f"rank {self.rank} (this one) has held up the others for {waited:.0f} s in {_place(self.iteration, self.phase)}; {go_on}"
        else:
            return f"no rank has gone on for {now - self.since:.0f} s, all in {_place(self.iteration, self.phase)}; check the network; {go_on}"
        named = "; ".join(self._words(rank, now) for rank in who[:8]) + ("; ..." if len(who) > 8 else "")
        return f"rank {', '.join(map(str, who))} of {self.world_size} {what}: {named}; {own}; {go_on}"

    def _words(self, rank: int, now: float) -> str:
        if rank not in self.heard:
            return f"rank {rank} was never heard"
        heard = self.heard[rank]
        note = heard.note
        last = f"last heard {heard.silent_s(now):.0f} s ago, {heard.stuck_s(now):.0f} s in {_place(note['iteration'], note['phase'])}"
        return f"rank {rank} ({note['host']}, process {note['pid']}) {last}"

    def leave(self, words: str) -> NoReturn:
        """Print the sentence and end this process, whatever its main thread waits for."""
        with self._speaking:  # never given back: the first thread that speaks ends the process
            try:
                print(f"\nmimeval: {words}", file=sys.stderr, flush=True)
            finally:
                os._exit(EXIT_CODE)


def _place(iteration: int, phase: str) -> str:
    return f"iteration {iteration}, phase {phase}"


def _pid_space() -> str:
    """Names the machine's (or container's) table of processes; empty where there is none to look into."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _runs(pid: int) -> bool:
    """Whether a process of this machine exists and has not ended (as a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False
