"""A file from an http address: with progress, gone on with after an interruption, under its name only when it is whole."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from mimeval.errors import UserError

TIMEOUT_S = 30
CHUNK = 1 << 18
AGAIN = "the same command goes on from there"


class _NoOtherScheme(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.startswith(("http://", "https://")):
            raise UserError(f"{req.full_url}: the server leads to {newurl[:120]!r}, which is no http address.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(
    address: str,
    target: Path,
    check: Callable[[Path], object],
    progress: Callable[[int, int | None, float], None] = lambda done, total, rate: None,
) -> None:
    """Download into `target`, through `.NAME.part` beside it, which an interruption leaves and the next call goes on from.

    check: raises UserError if the whole file is not what it should be; it is deleted then. progress: is told the bytes that
    are there, those in all (None where the server does not say), and the bytes per second of this call.

    Raises UserError for whatever the server or the disk refuses.
    """
    part, notes = target.with_name(f".{target.name}.part"), target.with_name(f".{target.name}.part.json")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part) as stream:
            _fetch(address, target, stream, notes, progress)
            stream.flush()
            os.fsync(stream.fileno())
            try:
                check(part)
            except UserError as error:
                for file in (part, notes):
                    file.unlink(missing_ok=True)
                said = str(error).replace(str(part), f"what {address} gave")
                raise UserError(said) from None
            os.replace(part, target)
            notes.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{target} cannot be written: {error.strerror or error}; make room, or choose another folder."
        ) from None


@contextmanager
def _alone(part: Path) -> Iterator[BinaryIO]:
    # Two processes that write into one file would spoil it for both.
    with part.open("ab+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{part} is being written by another process; wait for it.") from None
        yield stream


def _fetch(
    address: str,
    target: Path,
    stream: BinaryIO,
    notes: Path,
    progress: Callable[[int, int | None, float], None],
) -> None:
    known = _read_notes(notes, address) or {}
    done = stream.seek(0, os.SEEK_END)
    if not known:
        done = 0  # nothing says whether what is there belongs to what the server has now
    elif done and known.get("total") == done:
        return
    with _open(address, _headers(done, known), target) as response:
        _check_kind(response, address)
        total = _length(response)
        if done and response.status == 206:
            begin, total = _range(response, address)
            if begin != done or total != known.get("total"):
                notes.unlink()  # of another file: begin anew
                return _fetch(address, target, stream, notes, progress)
        else:
            done = 0  # a server that gives no parts, or has another file now
        if not done:
            stream.truncate(0)
        # A weak tag stands for files that differ.
        tag = response.headers.get("ETag") or ""
        version = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")
        notes.write_text(json.dumps({"address": address, "version": version, "total": total}))
        _copy(response, stream, address, done, total, progress)


def _headers(done: int, known: dict[str, Any]) -> dict[str, str]:
    headers = {"User-Agent": "mimeval", "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
        if known.get("version"):
            headers["If-Range"] = str(known["version"])
    return headers


def _check_kind(response: Any, address: str) -> None:
    if "html" in str(response.headers.get("Content-Type", "")):
        raise UserError(f"{address}: expected a file, found an HTML page; open it in a browser to see what it says.")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise UserError(
            f"{address}: expected a file as it is, found it {response.headers['Content-Encoding'][:40]}-encoded."
        )


def _copy(
    response: Any,
    stream: BinaryIO,
    address: str,
    done: int,
    total: int | None,
    progress: Callable[[int, int | None, float], None],
) -> None:
    start, first = time.monotonic(), done
    while True:
        try:
            chunk = response.read(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise UserError(_broken(address, done, total, _reason(error))) from None
        if not chunk:
            break
        stream.write(chunk)
        done += len(chunk)
        progress(done, total, (done - first) / max(time.monotonic() - start, 1e-9))
    stream.flush()
    if total is not None and done != total:
        raise UserError(_broken(address, done, total, "the server ended it"))
    progress(done, total, (done - first) / max(time.monotonic() - start, 1e-9))


def _broken(address: str, done: int, total: int | None, why: str) -> str:
    of = "" if total is None else f" of {total:,}"
    return f"{address}: broke off after {done:,}{of} bytes ({why}); {AGAIN}."


def _open(address: str, headers: dict[str, str], target: Path) -> Any:
    request = urllib.request.Request(address, headers=headers)
    opener = urllib.request.build_opener(_NoOtherScheme)
    try:
        return opener.open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and "Range" in headers:
            # More is here than there: begin anew.
            without = {name: value for name, value in headers.items() if name not in ("Range", "If-Range")}
            return _open(address, without, target)
        what = "it is not there any more; look at its source" if error.code in (404, 410) else "try again later"
        raise UserError(f"{address}: the server said {error.code} {error.reason}; {what}.") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UserError(f"{address} cannot be reached: {_reason(error)}; try again, {AGAIN}.") from None


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", error)
    return " ".join(str(getattr(inner, "strerror", None) or inner).split())[:160] or type(error).__name__


def _length(response: Any) -> int | None:
    text = str(response.headers.get("Content-Length", ""))
    return int(text) if text.isdigit() else None


def _range(response: Any, address: str) -> tuple[int, int | None]:
    """`bytes 100-199/200` as (100, 200)."""
    text = str(response.headers.get("Content-Range", ""))
    kind, _, rest = text.partition(" ")
    begin, _, total = rest.partition("-")[0], None, rest.rpartition("/")[2]
    if kind != "bytes" or not begin.isdigit():
        raise UserError(
            f"{address}: the server gave a part without saying which ({text[:80]!r}); delete the partial file."
        )
    return int(begin), int(total) if total.isdigit() else None


def _read_notes(notes: Path, address: str) -> dict[str, Any] | None:
    try:
        found = json.loads(notes.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("address") == address else None
