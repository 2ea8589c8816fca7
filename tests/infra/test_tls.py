"""Certificates: the name of the URL is verified, though the socket goes to a checked address; SSL_CERT_FILE is believed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmos.errors import Unreachable
from llmos.infra.fetch import Fetcher
from llmos.settings import Settings
from tests.infra.web import Page, Web


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and self-signed certificate for the name localhost."""
    if not shutil.which("openssl"):
        pytest.skip("the openssl command is not installed")
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost"]
    key, cert = path.with_suffix(".key"), path.with_suffix(".crt")
    subprocess.run(
        [*command, "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert], check=True, capture_output=True
    )
    path.write_bytes(key.read_bytes() + cert.read_bytes())
    return path


@pytest.fixture
def secure(certificate: Path) -> Iterator[Web]:
    server = Web(certificate)
    server.pages["/x"] = Page(b"over tls")
    yield server
    server.close()


def fetch(settings: Settings, url: str) -> bytes:
    with Fetcher(settings, trusted_origins=[url], attempts=1) as fetcher:
        return fetcher.get_bytes(url + "/x")


def test_certificate_of_the_system(settings: Settings, secure: Web, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    port = secure.url.rpartition(":")[2]
    assert fetch(settings, f"https://localhost:{port}") == b"over tls"
    with pytest.raises(Unreachable, match=r"(?i)certificate"):  # the right key under another name
        fetch(settings, f"https://127.0.0.1:{port}")


def test_unknown_certificate(settings: Settings, secure: Web) -> None:
    with pytest.raises(Unreachable, match=r"(?i)certificate"):
        fetch(settings, f"https://localhost:{secure.url.rpartition(':')[2]}")
