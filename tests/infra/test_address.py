"""Promise P22: no form of a URL leads into a private network, and a name that changes its mind gains nothing."""

from __future__ import annotations

import threading

import httpcore
import httpx
import pytest

from llmos.errors import InvalidValue, LLMOSError, Unreachable
from llmos.infra.address import Guard, GuardedBackend, is_public, parse, shown
from llmos.infra.fetch import Fetcher
from llmos.settings import Settings
from tests.infra.web import Page, Web

PRIVATE = [
    # loopback, in every spelling that a resolver takes
    "https://127.0.0.1", "https://127.0.0.1:8443", "https://127.1", "https://127.0.1", "https://127.255.255.254",
    "https://2130706433", "https://0x7f000001", "https://0x7f.1", "https://0177.0.0.1", "https://017700000001",
    "https://localhost", "https://LOCALHOST", "https://localhost.", "https://localhost:443", "https://0", "https://0.0.0.0",
    "https://[::1]", "https://[::]", "https://[0:0:0:0:0:0:0:1]", "https://[::ffff:127.0.0.1]", "https://[::ffff:7f00:1]",
    "https://[::127.0.0.1]", "https://[64:ff9b::7f00:1]", "https://[2002:7f00:1::]",
    "https://①②⑦.0.0.1", "https://127。0。0。1", "https://%31%32%37.0.0.1",
    # private, shared, link-local, metadata
    "https://10.0.0.1", "https://10.255.255.255", "https://172.16.0.1", "https://172.31.255.255", "https://192.168.0.1",
    "https://192.168.1", "https://3232235521", "https://100.64.0.1", "https://169.254.0.1", "https://169.254.169.254",
    "https://169.254.169.254/latest/meta-data/", "https://2852039166", "https://0xa9fea9fe", "https://[::ffff:169.254.169.254]",
    "https://[64:ff9b::a9fe:a9fe]", "https://[2002:a9fe:a9fe::]", "https://[fe80::1]", "https://[fe80::1%25lo]",
    "https://[fc00::1]", "https://[fd00:ec2::254]", "https://[fec0::1]",
    # reserved, documentation, benchmarking, multicast, broadcast
    "https://192.0.2.1", "https://198.51.100.1", "https://203.0.113.1", "https://198.18.0.1", "https://192.0.0.1",
    "https://224.0.0.1", "https://239.255.255.255", "https://240.0.0.1", "https://255.255.255.255", "https://[ff02::1]",
    "https://[2001:db8::1]", "https://[100::1]",
    # not https, or with tricks in the authority
    "http://127.0.0.1", "http://pypi.org", "file:///etc/passwd", "ftp://pypi.org", "gopher://127.0.0.1", "data:,x", "//127.0.0.1",
    "127.0.0.1", "", "https://", "https://pypi.org@127.0.0.1", "https://user:pw@pypi.org", "https://127.0.0.1#@pypi.org",
    "https://127.0.0.1?@pypi.org", "https://pypi.org\\@127.0.0.1", "https://127.0.0.1\r\nHost: x", "https://[::1", "https://a b",
]  # fmt: skip


@pytest.mark.parametrize("url", PRIVATE)
def test_refused(settings: Settings, url: str) -> None:
    """Refused for what it is, or not a name at all; never connected to. A connection would be an error of another kind."""
    with Fetcher(settings, trusted_origins=[], attempts=1) as fetcher, pytest.raises(LLMOSError) as caught:
        fetcher.get_bytes(url)
    assert isinstance(caught.value, InvalidValue) or "cannot be resolved" in caught.value.message


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::"]
)
def test_public(address: str) -> None:
    assert is_public(address)


def test_the_checked_address_is_the_one_connected_to(web: Web) -> None:
    """A rebinding name: public when checked, loopback a moment later. It is looked up once a connection."""
    answers = iter([["8.8.8.8", "127.0.0.1"], ["127.0.0.1"], ["127.0.0.1"]])
    guard = Guard(resolver=lambda host, port: next(answers))
    for _ in range(3):
        with pytest.raises(InvalidValue, match=r"leads to 127\.0\.0\.1"):
            GuardedBackend(guard).connect_tcp("rebind.example", int(web.url.rpartition(":")[2]))
    assert web.asked == []


def test_next_address_is_tried_when_one_is_dead(web: Web) -> None:
    port = int(web.url.rpartition(":")[2])
    guard = Guard(allow_private=True, resolver=lambda host, port: ["127.0.0.2", "127.0.0.1"])
    GuardedBackend(guard).connect_tcp("two.example", port, timeout=5).close()
    dead = Guard(allow_private=True, resolver=lambda host, port: ["127.0.0.2", "127.0.0.3"])
    with pytest.raises(httpcore.ConnectError):
        GuardedBackend(dead).connect_tcp("dead.example", port, timeout=5)


def test_trust_is_for_one_origin(web: Web, other: Web) -> None:
    guard = Guard([web.url + "/some/path"])
    assert str(guard.check(web.url + "/x")) == web.url + "/x"
    port = int(web.url.rpartition(":")[2])
    assert guard.addresses("127.0.0.1", port) == ["127.0.0.1"]
    with pytest.raises(InvalidValue):
        guard.check(other.url)
    with pytest.raises(InvalidValue):
        guard.addresses("127.0.0.1", port + 1)
    with pytest.raises(InvalidValue):
        guard.addresses("localhost", port)


def test_settings_decide_what_is_trusted(web: Web, settings: Settings) -> None:
    web.pages["/x"] = Page(b"hello")
    for environ in ({"HF_ENDPOINT": web.url}, {"OPENAI_BASE_URL": web.url + "/v1"}, {"LLMOS_ALLOW_PRIVATE_NETWORK": "1"}):
        with Fetcher(Settings.from_env(environ)) as fetcher:
            assert fetcher.get_bytes(web.url + "/x") == b"hello"
    with Fetcher(settings) as fetcher, pytest.raises(InvalidValue):
        fetcher.get_bytes(web.url + "/x")


def test_the_file_host_of_the_package_index_comes_with_it() -> None:
    private = Guard(["https://pypi.org"], resolver=lambda host, port: ["10.0.0.7"])
    assert private.addresses("files.pythonhosted.org", 443) == ["10.0.0.7"]
    with pytest.raises(InvalidValue):
        Guard(["https://mirror.example"], resolver=lambda host, port: ["10.0.0.7"]).addresses("files.pythonhosted.org", 443)


def test_names_are_shown_without_secrets() -> None:
    assert shown("https://u:p@host:8443/path?X-Signature=s#f") == "https://host:8443/path"
    assert parse("https://HOST/%20").host == "host"


def test_unknown_name(settings: Settings) -> None:
    cancel = threading.Event()
    with Fetcher(settings, pause_s=1000) as fetcher, pytest.raises(Unreachable, match=r"name\.invalid cannot be resolved"):
        fetcher.get_bytes("https://name.invalid/x")  # at once: a pause would be 1000 s
    assert not cancel.is_set()
    with pytest.raises(httpx.InvalidURL):
        httpx.URL("https://[::1")
