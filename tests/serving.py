"""A server of one file on this machine, which breaks off, lies, or sends no parts as a test asks for."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from sparsecode.data.downloads import Remote

CONTENT = np.random.default_rng(0).bytes(300_000)
SUM = "md5:" + hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Sends `content`; the i-th answer ends after `ends[i]` bytes of its body, the last of them for all that follow."""

    content: bytes = CONTENT
    parts: bool = True
    ends: tuple[int | None, ...] = (None,)
    status: int | None = None
    announced: int = 0  # bytes in Content-Length beyond those there are
    shifted: int = 0  # of parts from those asked for
    asked: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride] - the tests' own

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        end = server.ends[min(len(server.asked), len(server.ends) - 1)]
        server.asked.append(wanted)
        if server.status:
            self.send_error(server.status)
            return
        first = int(wanted[len("bytes=") : -1]) + server.shifted if wanted and server.parts else 0
        if first >= len(server.content):
            self.send_error(416)
            return
        body = server.content[first:]
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(body) + server.announced))
        self.end_headers()
        self.wfile.write(body[:end])

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving() -> Generator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def remote(server: Server, name: str = "file.npz") -> Remote:
    return Remote(name, "set", f"http://127.0.0.1:{server.server_port}/{name}", SUM, size=len(CONTENT))
