"""A hub on this machine that speaks the Hugging Face hub's protocol: a real HTTP server over real sockets, serving folders.

    GET /api/models/{repo}/revision/{rev}?blobs=true   commit, files, sizes, SHA-256 of large files, licence
    GET /{repo}/resolve/{rev}/{file}                   small files directly, large ones by a redirect to /cdn/{sha256}, with ranges
    401 without the token for repositories that need one, and for those that do not exist; 307 from old names to new ones

It also speaks enough of ModelScope's (/api/v1/models/{repo}/repo) and of a package index's (/simple/{package}/).
Tests set `faults` to break connections in the middle.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE_BYTES = 64 << 10


@dataclass
class Repo:
    """A folder under a repository's name. token: what it takes to read it."""

    folder: Path
    licence: str = "apache-2.0"
    token: str = ""
    old_names: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())

    @property
    def commit(self) -> str:
        state = [(name, sha256(self.folder / name)) for name in self.names]
        return hashlib.sha1(repr(state).encode()).hexdigest()

    def is_large(self, name: str) -> bool:
        return (self.folder / name).stat().st_size >= LARGE_BYTES or name.endswith(".safetensors")


def sha256(path: Path) -> str:
    return _sha256(path, path.stat().st_mtime_ns, path.stat().st_size)


@lru_cache(maxsize=1024)
def _sha256(path: Path, _mtime_ns: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass
class Faults:
    """cut: (path part, bytes): answers to such paths end after that many bytes, once each time it is set. swap: path part -> bytes
    served instead of the file's own. meet: wheels are served only when as many are asked for at once."""

    cut: dict[str, int] = field(default_factory=dict)
    swap: dict[str, bytes] = field(default_factory=dict)
    meet: threading.Barrier | None = None


class Hub:
    """Serve as a context manager; `url` is for HF_ENDPOINT. `seen` has "METHOD path" of every request."""

    def __init__(self, repos: dict[str, Repo], wheels: Path | None = None) -> None:
        self.repos = repos
        self.wheels = wheels
        self.faults = Faults()
        self.seen: list[str] = []
        bound: type[_Handler] = type("Bound", (_Handler,), {"hub": self})
        self._server = _Server(("127.0.0.1", 0), bound)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Hub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def find(self, name: str) -> tuple[str, Repo] | None:
        for full, repo in self.repos.items():
            if name == full or name in repo.old_names:
                return full, repo
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed in the middle is no news; anything else is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet; tests read `seen`."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.hub.seen.append(f"{self.command} {self.path}")
        path = unquote(urlsplit(self.path).path)
        for pattern, answer in (
            (r"/api/models/(?P<repo>.+?)/revision/(?P<rev>.+)", self._listing),
            (r"/api/v1/models/(?P<repo>[^/]+/[^/]+)/repo/files", self._modelscope_listing),
            (r"/api/v1/models/(?P<repo>[^/]+/[^/]+)/repo", self._modelscope_file),
            (r"/simple/(?P<package>[^/]+)/", self._index),
            (r"/wheels/(?P<name>[^/]+)", self._wheel),
            (r"/cdn/(?P<digest>[0-9a-f]{64})", self._cdn),
            (r"/(?P<repo>.+?)/resolve/(?P<rev>[^/]+)/(?P<name>.+)", self._file),
        ):
            if match := re.fullmatch(pattern, path):
                answer(**match.groupdict())
                return
        self._json(404, {"error": "Not Found"})

    def _repo(self, name: str) -> tuple[str, Repo] | None:
        found = self.hub.find(name)
        if found is None or (found[1].token and self.headers.get("authorization") != f"Bearer {found[1].token}"):
            self._json(401, {"error": "Repository not found"})
            return None
        if found[0] != name:
            self._redirect(307, self.path.replace(f"/{name}/", f"/{found[0]}/", 1))
            return None
        return found

    def _listing(self, repo: str, rev: str) -> None:
        if found := self._repo(repo):
            name, held = found
            if rev not in ("main", held.commit):
                self._json(404, {"error": f"Invalid rev id: {rev}"})
                return
            files = [self._record(held, file) for file in held.names]
            self._json(200, {"id": name, "sha": held.commit, "siblings": files, "cardData": {"license": held.licence}, "tags": []})

    @staticmethod
    def _record(held: Repo, name: str) -> dict[str, Any]:
        size = (held.folder / name).stat().st_size
        record: dict[str, Any] = {"rfilename": name, "size": size, "blobId": "0" * 40}
        if held.is_large(name):
            record["lfs"] = {"sha256": sha256(held.folder / name), "size": size, "pointerSize": 134}
        return record

    def _file(self, repo: str, rev: str, name: str) -> None:
        if found := self._repo(repo):
            held = found[1]
            if name not in held.names or rev not in ("main", held.commit):
                self._json(404, {"error": "Entry not found"})
                return
            if held.is_large(name):
                self._redirect(302, f"/cdn/{sha256(held.folder / name)}")
                return
            self._send(held.folder / name, name)

    def _cdn(self, digest: str) -> None:
        for held in self.hub.repos.values():
            for name in held.names:
                if held.is_large(name) and sha256(held.folder / name) == digest:
                    self._send(held.folder / name, name)
                    return
        self._json(404, {"error": "Not Found"})

    def _modelscope_listing(self, repo: str) -> None:
        found = self.hub.find(repo)
        if found is None:
            self._json(200, {"Code": 10010205001, "Message": "model not found"})
            return
        held = found[1]
        files = [
            {"Path": name, "Size": (held.folder / name).stat().st_size, "Sha256": sha256(held.folder / name), "Type": "blob"}
            for name in held.names
        ]
        self._json(200, {"Code": 200, "Data": {"Files": [*files, {"Path": "folder", "Type": "tree"}]}})

    def _modelscope_file(self, repo: str) -> None:
        found, name = self.hub.find(repo), parse_qs(urlsplit(self.path).query)["FilePath"][0]
        if found is None or name not in found[1].names:
            self._json(404, {"error": "Not Found"})
            return
        self._send(found[1].folder / name, name)

    def _index(self, package: str) -> None:
        files = [
            {
                "filename": path.name,
                "url": f"{self.hub.url}/wheels/{path.name}",
                "size": path.stat().st_size,
                "hashes": {"sha256": sha256(path)},
            }
            for path in sorted(self.hub.wheels.glob("*") if self.hub.wheels else [])
            if path.name.split("-")[0].replace("_", "-").lower() == package
        ]
        self._json(200, {"files": files}) if files else self._json(404, {"error": "Not Found"})

    def _wheel(self, name: str) -> None:
        assert self.hub.wheels is not None
        if self.hub.faults.meet is not None:
            self.hub.faults.meet.wait(timeout=30)
        self._send(self.hub.wheels / name, name)

    def _send(self, path: Path, name: str) -> None:
        swapped = next((data for part, data in self.hub.faults.swap.items() if part in name), None)
        body = swapped or path.read_bytes()
        etag = f'"{hashlib.sha256(body).hexdigest() if swapped else sha256(path)}"'
        start, end, status = 0, len(body), 200
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        if wanted and self.headers.get("if-range", etag) == etag:
            start, end, status = int(wanted[1]), min(int(wanted[2] or len(body)) + 1, len(body)), 206
        self.send_response(status)
        self.send_header("ETag", etag)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end - start))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(body)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        piece = body[start:end]
        cut = next((part for part in self.hub.faults.cut if part in name), None)
        if cut is not None and len(piece) > self.hub.faults.cut[cut]:
            self.wfile.write(piece[: self.hub.faults.cut.pop(cut)])
            self.close_connection = True
            return
        self.wfile.write(piece)

    def _redirect(self, status: int, location: str) -> None:
        self.send_response(status)
        self.send_header("Location", location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _json(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
