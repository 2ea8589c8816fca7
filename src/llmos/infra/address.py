"""Where LLMOS may connect to: the rule that keeps requests made for others out of private networks (promise P22).

A URL may come from a stranger: a request field, a redirect, an index page. So a URL is parsed once, must be https without
credentials, its host is resolved once, every address must be public, and the connection goes to the address that was checked
(a name that resolves differently a moment later gains nothing). Origins that the user configured are trusted: they may be
http, and private. This is the only module that decides; `fetch.py` is the only one that connects.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable
from typing import NamedTuple

import httpcore
import httpx

from llmos.errors import InvalidValue, Unreachable
from llmos.settings import Settings

_PORTS = {"https": 443, "http": 80}
# Origins that a trusted one hands out as part of its service. Both are fixed https names: their certificate is checked.
_COMPANIONS = {"https://pypi.org": ("https://files.pythonhosted.org",)}
ONLINE_HINT = "Is this machine online? `llmos doctor` shows what can be reached."
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # RFC 4291, section 2.4; Python calls more than that global


class NotConnected(Unreachable):
    """No connection came about, so the other side did nothing."""


class NameUnknown(NotConnected):
    """The host's name does not resolve; asking again at once would not help."""


class Origin(NamedTuple):
    """Scheme, host in lower case without a final dot, port."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: httpx.URL) -> Origin:
        return cls(url.scheme, url.host.lower().rstrip("."), url.port or _PORTS.get(url.scheme, 0))


def parse(url: str) -> httpx.URL:
    """The URL, parsed once for every later use. Raises InvalidValue."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError) as problem:
        raise InvalidValue(f"{url[:200]!r} is not a URL: {problem}.", param="url") from None
    if parsed.scheme not in _PORTS or not parsed.host:
        raise InvalidValue(f"{shown(parsed)!r} is not an https URL with a host.", param="url")
    return parsed


def shown(url: httpx.URL | str) -> str:
    """The URL for messages and logs: without credentials, query and fragment, where secrets travel."""
    parsed = httpx.URL(url) if isinstance(url, str) else url
    return str(parsed.copy_with(userinfo=b"", query=None, fragment=None))


def configured_origins(settings: Settings) -> tuple[str, ...]:
    """The origins that the user's settings name."""
    named = (
        settings.hf_endpoint,
        settings.modelscope_endpoint,
        settings.pypi_index,
        settings.npm_registry,
        settings.openai_base_url,
    )
    return tuple(url for url in named if url)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet; an IPv4 address inside an IPv6 one counts as itself."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip not in _GLOBAL_UNICAST:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_loopback or ip.is_link_local or ip.is_unspecified)


def resolve(host: str, port: int) -> list[str]:
    """The host's addresses, in the order to try them. Raises NameUnknown."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else str(problem)
        raise NameUnknown(f"The name {host} cannot be resolved ({reason}).", hint=ONLINE_HINT) from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Guard:
    """Says yes or raises InvalidValue. trusted: URLs whose origins may be http and private; resolver: as `resolve`."""

    def __init__(
        self, trusted: Iterable[str] = (), *, allow_private: bool = False, resolver: Callable[[str, int], list[str]] = resolve
    ) -> None:
        self._resolve = resolver
        origins = {Origin.of(parse(url)) for url in trusted}
        for origin in tuple(origins):
            origins.update(Origin.of(httpx.URL(url)) for url in _COMPANIONS.get(f"{origin.scheme}://{origin.host}", ()))
        self._trusted = origins
        self._trusted_places = {(origin.host, origin.port) for origin in origins}
        self.allow_private = allow_private

    def check(self, url: str | httpx.URL) -> httpx.URL:
        """The rules that need no look-up: https, no credentials."""
        parsed = parse(url) if isinstance(url, str) else parse(str(url))
        if Origin.of(parsed) in self._trusted:
            return parsed
        if parsed.userinfo:
            raise InvalidValue(f"The URL of {shown(parsed)} carries credentials; they are not accepted there.", param="url")
        if parsed.scheme != "https" and not self.allow_private:
            raise InvalidValue(
                f"{shown(parsed)} is plain http; only https is fetched.",
                param="url",
                hint="A local mirror can be configured, e.g. as HF_ENDPOINT, or LLMOS_ALLOW_PRIVATE_NETWORK=1 set.",
            )
        return parsed

    def addresses(self, host: str, port: int) -> list[str]:
        """The addresses to connect to. Raises InvalidValue when one of them is not public, Unreachable when there is none."""
        found = self._resolve(host, port)
        if self.allow_private or (host.lower().rstrip("."), port) in self._trusted_places:
            return found
        private = [address for address in found if not is_public(address)]
        if private:
            raise InvalidValue(
                f"{host} leads to {private[0]}, which is not an address of the public internet; it is not fetched.",
                param="url",
                hint="If you mean it, set LLMOS_ALLOW_PRIVATE_NETWORK=1 or configure it as an endpoint of your own.",
            )
        return found


class GuardedBackend(httpcore.NetworkBackend):
    """Opens sockets for the HTTP library, to checked addresses only."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        last: Exception | None = None
        for address in self._guard.addresses(host, port):
            try:
                return self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as problem:
                last = problem
        assert last is not None, "resolve() returns at least one address"
        raise last


class GuardedTransport(httpx.HTTPTransport):
    """httpx's own transport over a pool that opens its sockets through the guard."""

    def __init__(self, guard: Guard, ssl_context: object) -> None:
        super().__init__(trust_env=False, verify=ssl_context)  # type: ignore[arg-type]
        assert isinstance(self._pool, httpcore.ConnectionPool), "httpx has changed: the guard would be bypassed"
        self._pool.close()
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl_context,  # type: ignore[arg-type]
            network_backend=GuardedBackend(guard),
            max_connections=64,
            max_keepalive_connections=16,
            keepalive_expiry=15.0,
        )
