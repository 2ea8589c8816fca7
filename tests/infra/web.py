"""A real HTTP server for the network tests: files with ranges and versions, and every way of failing on request."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Page:
    """What one path answers. cut: for so many requests, the body ends after cut_after bytes with the connection."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    etag: str = ""
    ranges: bool = True
    failures: list[int] = field(default_factory=list)  # statuses of the first answers
    cuts: int = 0
    cut_after: int = 0
    on_request: Callable[[], None] | None = None


class Web:
    """Pages by path, and what was asked: (method, path, headers with lower-case names, body)."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.pages: dict[str, Page] = {}
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.lock = threading.Lock()
        web = self

        class Handler(_Handler):
            site = web

        self._server = _Server(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or does not like the certificate, is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    site: Web
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.site.lock:
            self.site.asked.append((self.command, self.path, headers, body))
            page = self.site.pages.get(self.path, Page(b"no such page", status=404))
            failure = page.failures.pop(0) if page.failures else 0
            cut = page.cuts > 0 and not failure
            page.cuts -= cut
        if page.on_request:
            page.on_request()
        status, sent, extra = self.pick(page, headers)
        if failure:
            status, sent, extra = failure, b"failing on purpose", {}
        self.send_response(status)
        for name, value in {"Content-Length": str(len(sent)), **page.headers, **extra}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(sent[: page.cut_after] if cut else sent)
        if cut:
            self.close_connection = True

    @staticmethod
    def pick(page: Page, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers, by RFC 9110's rules for Range and If-Range."""
        extra = {"ETag": page.etag} if page.etag else {}
        asked = headers.get("range", "")
        if not asked or not page.ranges or page.status != 200 or headers.get("if-range", page.etag) != page.etag:
            return page.status, page.body, extra
        first, last = asked.removeprefix("bytes=").split("-")
        start, end = int(first), min(int(last or len(page.body)) + 1, len(page.body))
        if start >= len(page.body):
            return 416, b"", {"Content-Range": f"bytes */{len(page.body)}"}
        return 206, page.body[start:end], {**extra, "Content-Range": f"bytes {start}-{end - 1}/{len(page.body)}"}

    do_GET = do_HEAD = do_POST = answer
