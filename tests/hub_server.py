"""A stand-in of the Hugging Face hub on this machine: repositories, revisions, commits and large files, by the HTTP interface that huggingface_hub uses."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

LARGE = (".safetensors", ".pt", ".npz")
READ, WRITE = "token-that-reads", "token-that-writes"


class Hub(ThreadingHTTPServer):
    """`repos`: revision or commit -> path -> content. `private` ones need a token, and no token but WRITE may write."""

    daemon_threads = True
    repos: dict[str, dict[str, dict[str, bytes]]]
    private: set[str]
    large: dict[str, bytes]
    requests: list[str]
    drop: str = ""  # the connection breaks off in the middle of answers whose path holds this
    status: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, repo: str, files: dict[str, bytes], revision: str = "main") -> str:
        """Add files to a branch; the new commit's name."""
        branches = self.repos.setdefault(repo, {})
        new = branches.get(revision, {}) | files
        hasher = hashlib.sha1(f"{repo} {revision} {len(branches)}".encode())
        for name in sorted(new):
            hasher.update(name.encode() + new[name])
        branches[revision] = branches[hasher.hexdigest()] = new
        return hasher.hexdigest()

    def head(self, repo: str, revision: str) -> str:
        files = self.repos[repo][revision]
        return next(name for name, there in self.repos[repo].items() if there is files and len(name) == 40)


class Handler(BaseHTTPRequestHandler):
    server: Hub  # pyright: ignore[reportIncompatibleVariableOverride] - the tests' own
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(self._get)

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_PUT(self) -> None:
        self._answer(self._put)

    def _answer(self, method: Any) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {self.path}")
        if self.server.status:
            self._json({}, self.server.status)
            return
        method()

    @property
    def token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _repo(self, repo: str, revision: str | None = None, *, writing: bool = False) -> dict[str, bytes] | None:
        """The files of a revision; None when an error has been sent."""
        branches = self.server.repos.get(repo)
        if branches is None or (repo in self.server.private and self.token not in (READ, WRITE)):
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif writing and self.token != WRITE:
            self._json({"error": "Forbidden"}, 403, {"X-Error-Message": f"{self.token} may not write"})
        elif revision is not None and revision not in branches:
            self._json({"error": "Revision not found"}, 404, {"X-Error-Code": "RevisionNotFound"})
        else:
            return branches.get(revision or "main", {})
        return None

    def _get(self) -> None:
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", self.path):
            repo, revision = match[1], match[2] or "main"
            files = self._repo(repo, revision)
            if files is not None:
                siblings = [{"rfilename": name} for name in files]
                self._json(
                    {
                        "id": repo,
                        "sha": self.server.head(repo, revision),
                        "private": repo in self.server.private,
                        "siblings": siblings,
                    }
                )
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)/?(.*)", self.path):
            files = self._repo(match[1], match[2])
            if files is not None:
                self._json([_entry(name, data) for name, data in files.items() if name.startswith(match[3])])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path):
            files = self._repo(match[1], match[2])
            if files is None:
                return
            if match[3] not in files:
                self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
                return
            data = files[match[3]]
            etag = hashlib.sha256(data).hexdigest() if match[3].endswith(LARGE) else _blob(data)
            self._send(data, {"ETag": f'"{etag}"', "X-Repo-Commit": self.server.head(match[1], match[2])})
        elif self.path == "/api/whoami-v2":
            self._json({"name": "org"} if self.token else {}, 200 if self.token else 401)
        else:
            self._json({"error": f"no {self.path}"}, 404)

    def _post(self) -> None:
        if self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif self.path == "/api/repos/create":
            asked = json.loads(self.body)
            repo = f"{asked['organization']}/{asked['name']}"
            if self.token != WRITE:
                self._json({"error": f"{self.token} may not create"}, 403 if self.token else 401)
            elif repo in self.server.repos:
                self._json({"error": "exists", "url": f"{self.server.url}/{repo}"}, 409)
            else:
                self.server.commit(repo, {".gitattributes": b""})
                if asked.get("private") or asked.get("visibility") == "private":
                    self.server.private.add(repo)
                self._json({"url": f"{self.server.url}/{repo}", "name": repo})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/(.+)", self.path):
            if self._repo(match[1], match[2], writing=True) is not None:
                files = json.loads(self.body)["files"]
                modes = [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                        "shouldIgnore": False,
                    }
                    for file in files
                ]
                self._json({"files": modes})
        elif match := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self.path):
            if self._repo(match[1], writing=True) is not None:
                objects = [
                    {"oid": o["oid"], "size": o["size"]}
                    | (
                        {}
                        if o["oid"] in self.server.large
                        else {"actions": {"upload": {"href": f"{self.server.url}/large/{o['oid']}"}}}
                    )
                    for o in json.loads(self.body)["objects"]
                ]
                self._json({"transfer": "basic", "objects": objects})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", self.path):
            if self._repo(match[1], match[2], writing=True) is not None:
                self._json(
                    {"commitUrl": f"{self.server.url}/{match[1]}", "commitOid": self._committed(*match.groups())}
                )
        else:
            self._json({"error": f"no {self.path}"}, 404)

    def _committed(self, repo: str, revision: str) -> str:
        files: dict[str, bytes] = {}
        for line in self.body.splitlines():
            record = json.loads(line)
            value = record["value"]
            if record["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif record["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif record["key"] == "deletedFile":
                self.server.repos[repo][revision].pop(value["path"], None)
        return self.server.commit(repo, files, revision)

    def _put(self) -> None:
        oid = self.path.rpartition("/")[2]
        if self.server.drop and self.server.drop in self.path:
            self.close_connection = True
            self.connection.close()
            return
        if hashlib.sha256(self.body).hexdigest() == oid:
            self.server.large[oid] = self.body
        self._json({}, 200 if oid in self.server.large else 400)

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})}, status)

    def _send(self, data: bytes, headers: dict[str, str], status: int = 200) -> None:
        first = 0
        if status == 200 and (wanted := self.headers.get("Range")) and self.command == "GET":
            first, status = int(wanted.removeprefix("bytes=").partition("-")[0]), 206
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        body = data[first:]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.server.drop and self.server.drop in self.path:
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _blob(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


def _entry(name: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": _blob(data)}
    if name.endswith(LARGE):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return entry


def files_below(folder: Path) -> dict[str, bytes]:
    """The contents of a folder, as `Hub.commit` takes them."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@contextmanager
def hub_server() -> Generator[Hub]:
    with Hub(("127.0.0.1", 0), Handler) as server:
        server.repos, server.private, server.large, server.requests = {}, set(), {}, []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def environment(hub: Hub, home: Path, token: str = "", **more: str) -> dict[str, str]:
    """The environment of a process whose hub is this one, with a cache of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    given = {"HF_TOKEN": token} if token else {}
    quiet = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return kept | quiet | given | {"HF_ENDPOINT": hub.url, "HF_HOME": str(home)} | more


@contextmanager
def local_hub(home: Path, monkeypatch: pytest.MonkeyPatch, token: str = WRITE) -> Generator[Hub]:
    """A hub that this process talks to."""
    with hub_server() as server:
        for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment(server, home, token).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        yield server
