"""A server on this machine that serves one file, whole, in parts, or badly."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Server(ThreadingHTTPServer):
    """data: what it serves. parts: whether it knows Range. stop_after: bytes after which it breaks off, once. tag: its ETag.
    requests: the Range header of each request, None where there was none."""

    daemon_threads = True

    def __init__(self, data: bytes):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.parts, self.stop_after, self.tag, self.slow = data, True, None, '"one"', 0.0
        self.requests: list[str | None] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        self.server.requests.append(self.headers["Range"])
        answers = {
            "/gone.pth": (404, None),
            "/busy.pth": (503, None),
            "/moved.pth": (302, "/file.pth"),
            "/away.pth": (302, "ftp://127.0.0.1/x"),
            "/local.pth": (302, "file:///etc/passwd"),
        }
        if self.path in answers:
            code, place = answers[self.path]
            self.send_response(code)
            if place:
                self.send_header("Location", place)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path == "/page.pth":
            self._send(200, b"<html>log in</html>", {"Content-Type": "text/html; charset=utf-8"})
            return
        self._file()

    def _file(self) -> None:
        data, tag = self.server.data, self.server.tag
        begin = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        same = self.headers["If-Range"] in (None, tag)
        headers = {"ETag": tag} if tag else {}
        if self.server.parts and self.headers["Range"] and same:
            if begin >= len(data):
                self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
            self._send(206, data[begin:], headers)
        else:
            self._send(200, data, headers)

    def _send(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        stop, self.server.stop_after = self.server.stop_after, None
        for at in range(0, len(body), 1 << 16):
            chunk = body[at : at + (1 << 16)]
            if stop is not None and at + len(chunk) > stop:
                self.wfile.write(chunk[: stop - at])
                self.close_connection = True
                return
            try:
                self.wfile.write(chunk)
            except OSError:  # the reader has left
                return
            if self.server.slow:
                time.sleep(self.server.slow)


@contextmanager
def serving(data: bytes) -> Iterator[Server]:
    server = Server(data)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def no_proxy(monkeypatch):
    """Requests to this machine stay on it."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
