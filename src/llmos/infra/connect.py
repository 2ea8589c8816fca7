"""Requests, one at a time: redirects followed under the rules, connections kept, failures turned into our errors, tried again.

`fetch.py` and `download.py` ask through `Connector`; nothing else does. It knows HTTP and the guard of address.py, and nothing
of JSON, files or hashes.
"""

from __future__ import annotations

import importlib.metadata
import ssl
import threading
import urllib.request
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TypeVar

import httpx

from llmos.errors import Cancelled, InvalidValue, LLMOSError, NotFound, SourceError, SourceStatus, Unreachable
from llmos.infra.address import ONLINE_HINT, Guard, GuardedTransport, NameUnknown, NotConnected, Origin, shown

T = TypeVar("T")
MAX_REDIRECTS = 3
CONNECT_S = 10.0
READ_S = 60.0
MAX_PAUSE_S = 60.0
_RETRIED = {429, 500, 502, 503, 504}
_NO_SECRETS = {"accept", "accept-encoding", "accept-language", "user-agent", "range", "if-range", "content-type"}
_LOST = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)
_EXCERPT_BYTES = 4096


class Connector:
    """Thread-safe. attempts and pause_s: how often and how patiently `retry` tries."""

    def __init__(self, guard: Guard, *, attempts: int, pause_s: float) -> None:
        self._guard, self._attempts, self._pause_s = guard, attempts, pause_s
        self._user_agent = f"llmos/{importlib.metadata.version('llmos')}"
        self._transports: dict[str, httpx.HTTPTransport] = {}
        self._lock = threading.Lock()
        self.close = weakref.finalize(self, _close_all, self._transports)

    def retry(
        self,
        ask: Callable[[], T],
        *,
        again: Callable[[LLMOSError], bool] | None = None,
        cancel: threading.Event | None = None,
    ) -> T:
        """ask(), and again after each failure that may pass, with pauses of 0.5, 1, 2 … s or what Retry-After says."""
        for attempt in range(self._attempts):
            try:
                return ask()
            except (Unreachable, SourceStatus) as problem:
                if attempt + 1 == self._attempts or not (again or may_pass)(problem):
                    raise
                pause_s = min(MAX_PAUSE_S, max(problem.retry_after_s or 0.0, self._pause_s * 2**attempt))
                if (cancel or threading.Event()).wait(pause_s):
                    raise Cancelled("The download was cancelled.") from None
        raise AssertionError("the last attempt returns or raises")

    def open(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        timeout_s: float = READ_S,
        follow: bool = True,
    ) -> httpx.Response:
        """The answer, whatever its status, its body not read yet, after at most three redirects. The caller closes it.

        headers: names in lower case. timeout_s: the longest silence.
        """
        start = here = self._guard.check(url)
        carried = {"user-agent": self._user_agent, "accept-encoding": "identity", **headers}
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send(method, here, carried, body, timeout_s)
            if not (follow and response.has_redirect_location):
                return response
            response.close()
            there = self._next(method, here, response, start)
            if Origin.of(there) != Origin.of(here):
                carried = {name: value for name, value in carried.items() if name in _NO_SECRETS}
            here = there
        raise SourceError(f"{shown(start)} redirects more than {MAX_REDIRECTS} times.")

    def ok(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        timeout_s: float = READ_S,
        follow: bool = True,
    ) -> httpx.Response:
        """As `open`; a status of 400 or more raises NotFound (404) or SourceStatus."""
        response = self.open(method, url, headers, body, timeout_s=timeout_s, follow=follow)
        if response.status_code >= 400:
            raise status_error(response)
        return response

    def _next(self, method: str, here: httpx.URL, response: httpx.Response, start: httpx.URL) -> httpx.URL:
        """Where a redirect leads, if it may be followed. Its addresses are checked when it is connected to."""
        try:
            there = self._guard.check(here.join(response.headers["location"]))
        except (InvalidValue, httpx.InvalidURL) as problem:
            raise SourceError(f"{shown(start)} redirects to where LLMOS does not go: {problem}") from None
        if method not in ("GET", "HEAD") and (response.status_code not in (307, 308) or Origin.of(there) != Origin.of(here)):
            raise SourceError(f"{shown(start)} redirects a {method} request to {shown(there)}; that is not followed.")
        return there

    def _send(
        self, method: str, url: httpx.URL, headers: Mapping[str, str], body: bytes | None, timeout_s: float
    ) -> httpx.Response:
        timeout = httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s)).as_dict()
        request = httpx.Request(method, url, headers=dict(headers), content=body, extensions={"timeout": timeout})
        if url.userinfo and "authorization" not in headers:
            request = next(httpx.BasicAuth(url.username, url.password).sync_auth_flow(request))
        with network_errors(url):
            response = self._transport(url).handle_request(request)
        response.request = request
        return response

    def _transport(self, url: httpx.URL) -> httpx.HTTPTransport:
        """The connections for this URL: direct through the guard, or by the proxy that the environment names."""
        proxies = urllib.request.getproxies()
        proxy = proxies.get(url.scheme) or proxies.get("all") or ""
        if proxy and urllib.request.proxy_bypass(url.host):
            proxy = ""
        if proxy:
            with suppress(NameUnknown):  # behind a proxy, names are often the proxy's to resolve
                self._guard.addresses(url.host, Origin.of(url).port)
        with self._lock:
            if proxy not in self._transports:
                self._transports[proxy] = _by_proxy(proxy) if proxy else GuardedTransport(self._guard, ssl_context())
            return self._transports[proxy]


def _by_proxy(proxy: str) -> httpx.HTTPTransport:
    try:
        return httpx.HTTPTransport(proxy=httpx.Proxy(proxy), verify=ssl_context(), trust_env=False)
    except (ValueError, ImportError) as problem:
        raise InvalidValue(
            f"The proxy {shown(proxy)} of the environment cannot be used: {problem}",
            param="HTTPS_PROXY",
            hint="http:// and https:// proxies work.",
        ) from None


def ssl_context() -> ssl.SSLContext:
    """Verifies against the system's certificates or SSL_CERT_FILE / SSL_CERT_DIR; where a system has none, certifi's."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile or paths.capath:
        return ssl.create_default_context()
    import certifi

    return ssl.create_default_context(cafile=certifi.where())


@contextmanager
def network_errors(url: httpx.URL) -> Iterator[None]:
    """Turns what the HTTP library raises into NotConnected, Unreachable (both worth another try) or SourceError."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as problem:
        raise NotConnected(f"{shown(url)} cannot be connected to: {_reason(problem)}.", hint=ONLINE_HINT) from None
    except _LOST as problem:
        raise Unreachable(f"The connection to {shown(url)} was lost: {_reason(problem)}.", hint=ONLINE_HINT) from None
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as problem:
        raise SourceError(f"{shown(url)}: {_reason(problem)}.") from None


def _reason(problem: Exception) -> str:
    return (str(problem) or type(problem).__name__).rstrip(".")


def status_error(response: httpx.Response) -> LLMOSError:
    """The error for an answer of 400 or more, with the first words of its body. Closes the answer."""
    excerpt = b""
    with suppress(httpx.HTTPError):  # the status says enough
        for piece in response.iter_bytes():
            excerpt += piece
            if len(excerpt) >= _EXCERPT_BYTES:
                break
    response.close()
    text = excerpt[:_EXCERPT_BYTES].decode(errors="replace")
    said = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:300]
    status = response.status_code
    message = f"{shown(response.request.url)} answers with HTTP {status}" + (f": {said}" if said else ".")
    if status == 404:
        return NotFound(message)
    hint = "Access needs a token, or one with more rights." if status in (401, 403) else ""
    after = response.headers.get("retry-after", "")
    retry_after_s = float(after) if after.isdecimal() else None
    return SourceStatus(message, status=status, body=text, hint=hint, retry_after_s=retry_after_s)


def may_pass(problem: LLMOSError) -> bool:
    """Whether the same request may succeed a moment later."""
    if isinstance(problem, SourceStatus):
        return problem.status in _RETRIED
    return isinstance(problem, Unreachable) and not isinstance(problem, NameUnknown)


def not_begun(problem: LLMOSError) -> bool:
    """Whether the server surely did nothing with the request, so that a POST may be sent again."""
    if isinstance(problem, SourceStatus):
        return problem.status in (429, 503)
    return isinstance(problem, NotConnected) and not isinstance(problem, NameUnknown)


def _close_all(transports: dict[str, httpx.HTTPTransport]) -> None:
    for transport in transports.values():
        transport.close()
    transports.clear()
