"""The one door to the network. Whatever LLMOS reads from elsewhere, it asks for here.

Rules (address.py, connect.py): https only, public addresses only, origins that the user configured excepted; at most three
redirects, each checked again; headers that may hold secrets go to the origin they were meant for and to no other; answers are
capped in size and time. System certificates, SSL_CERT_FILE, and the proxies of the environment are used. A lost connection
and a 5xx answer are tried again with growing pauses; what remains is `Unreachable`, `SourceStatus` or `NotFound`.
"""

from __future__ import annotations

import json as jsonlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmos.errors import DeadlineExceeded, LLMOSError, SourceError
from llmos.settings import Settings

if TYPE_CHECKING:  # the HTTP client is imported with the first request: most commands make none
    from llmos.infra.connect import Connector
    from llmos.infra.lines import LineStream

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Head:
    """What a HEAD request told. `url` is where it ended, `headers` have lower-case names."""

    url: str
    status: int
    headers: dict[str, str]


class Fetcher:
    """Thread-safe; keeps connections open between calls until `close`.

    trusted_origins: URLs whose origins may be http and private; None means those of the settings, () none. Give () where
    the URL comes from a stranger. attempts, pause_s: how often and after what first pause a passing failure is tried again.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        trusted_origins: Sequence[str] | None = None,
        attempts: int = 4,
        pause_s: float = 0.5,
        chunk_bytes: int | None = None,
    ) -> None:
        self._settings, self._trusted_origins = settings, trusted_origins
        self._attempts, self._pause_s, self._chunk_bytes = attempts, pause_s, chunk_bytes

    @cached_property
    def _connector(self) -> Connector:
        from llmos.infra.address import Guard, configured_origins
        from llmos.infra.connect import Connector

        trusted = configured_origins(self._settings) if self._trusted_origins is None else self._trusted_origins
        guard = Guard(trusted, allow_private=self._settings.allow_private_network)
        return Connector(guard, attempts=self._attempts, pause_s=self._pause_s)

    def close(self) -> None:
        if "_connector" in vars(self):
            self._connector.close()

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get_json(
        self, url: str, headers: Mapping[str, str] | None = None, *, max_bytes: int = 32 * MIB, timeout_s: float = 120
    ) -> Any:
        """The JSON value at the URL. Raises NotFound (404), SourceStatus, Unreachable, SourceError."""
        wanted = {"accept": "application/json", **_lower(headers)}
        return _parse_json(url, self.get_bytes(url, wanted, max_bytes=max_bytes, timeout_s=timeout_s))

    def get_bytes(
        self, url: str, headers: Mapping[str, str] | None = None, *, max_bytes: int = 32 * MIB, timeout_s: float = 120
    ) -> bytes:
        """The body at the URL, at most max_bytes of it (more is a SourceError, never a cut)."""
        return self._connector.retry(
            lambda: self._read("GET", url, _lower(headers), None, max_bytes=max_bytes, timeout_s=timeout_s)
        )

    def post_json(
        self,
        url: str,
        body: Any,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 600,
        *,
        max_bytes: int = 64 * MIB,
    ) -> Any:
        """Sends JSON, returns JSON. It is sent again only where the first sending did nothing: no connection, 429 or 503."""
        from llmos.infra.connect import not_begun

        typed, content = _with_json({"accept": "application/json", **_lower(headers)}, body)
        ask = lambda: self._read("POST", url, typed, content, max_bytes=max_bytes, timeout_s=timeout_s)  # noqa: E731
        return _parse_json(url, self._connector.retry(ask, again=not_begun))

    def stream_lines(
        self,
        method: str,
        url: str,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = 600,
    ) -> LineStream:
        """The answer line by line, as it comes (SSE, JSON lines). `close()`, from any thread, ends it at once.

        timeout_s is the longest silence. Errors come on this call or while iterating.
        """
        from llmos.infra.connect import not_begun
        from llmos.infra.lines import LineStream

        typed, content = _with_json({"accept": "text/event-stream", **_lower(headers)}, json)
        ask = lambda: self._connector.ok(method, url, typed, content, timeout_s=timeout_s)  # noqa: E731
        return LineStream(self._connector.retry(ask, again=not_begun))

    def head(self, url: str, headers: Mapping[str, str] | None = None, *, follow: bool = True, timeout_s: float = 60) -> Head:
        """Status and headers. follow=False gives those of the first answer, a redirect included."""
        ask = lambda: self._connector.ok("HEAD", url, _lower(headers), timeout_s=timeout_s, follow=follow)  # noqa: E731
        with closing(self._connector.retry(ask)) as response:
            return Head(str(response.request.url), response.status_code, dict(response.headers))

    def reachable(self, url: str, *, timeout_s: float = 3) -> tuple[bool, str]:
        """Whether a server answers there, and how or why not. Any answer counts, an error page too; nothing is tried twice."""
        try:
            with closing(self._connector.open("HEAD", url, {}, timeout_s=timeout_s)) as response:
                return True, f"answers with HTTP {response.status_code}"
        except LLMOSError as problem:
            return False, problem.message

    def download(
        self,
        url: str,
        target: Path,
        *,
        sha256: str | None = None,
        size_bytes: int | None = None,
        max_bytes: int | None = None,
        headers: Mapping[str, str] | None = None,
        progress: Callable[[int, int], None] | None = None,
        cancel: threading.Event | None = None,
        connections: int = 4,
    ) -> str:
        """Brings the file to `target` and returns its SHA-256; download.py says how.

        progress(done_bytes, total_bytes) is called often, by one thread at a time; the total is 0 while nobody knows it.
        Raises CorruptFile when the hash or size differs, LimitExceeded when it has more than max_bytes, Cancelled, StorageError, and
        what get_bytes raises.
        """
        from llmos.infra.download import CHUNK_BYTES, Download

        return Download(
            self._connector,
            url,
            target,
            sha256=sha256,
            size_bytes=size_bytes,
            max_bytes=max_bytes,
            headers=_lower(headers),
            progress=progress,
            cancel=cancel or threading.Event(),
            connections=connections,
            chunk_bytes=self._chunk_bytes or CHUNK_BYTES,
        ).run()

    def _read(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, *, max_bytes: int, timeout_s: float
    ) -> bytes:
        from llmos.infra.address import shown
        from llmos.infra.connect import network_errors

        deadline = time.monotonic() + timeout_s
        response = self._connector.ok(method, url, {"accept-encoding": "gzip", **headers}, body, timeout_s=timeout_s)
        received = bytearray()
        with closing(response), network_errors(response.request.url):
            for piece in response.iter_bytes():
                received += piece
                if len(received) > max_bytes:
                    raise SourceError(f"{shown(url)} answers with more than {max_bytes:,} bytes; that is not read.")
                if time.monotonic() > deadline:
                    raise DeadlineExceeded(f"{shown(url)} did not finish its answer within {timeout_s:g} s.")
        return bytes(received)


def _lower(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {name.lower(): value for name, value in (headers or {}).items()}


def _with_json(headers: dict[str, str], body: Any) -> tuple[dict[str, str], bytes | None]:
    if body is None:
        return headers, None
    return {"content-type": "application/json", **headers}, jsonlib.dumps(body).encode()


def _parse_json(url: str, body: bytes) -> Any:
    try:
        return jsonlib.loads(body)
    except (ValueError, RecursionError):
        from llmos.infra.address import shown

        raise SourceError(f"{shown(url)} answers with something that is not JSON: {body[:80]!r} …") from None
