"""Fixtures of the infrastructure tests: web servers of our own and a fetcher that may reach one of them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from llmos.infra.fetch import Fetcher
from llmos.settings import Settings
from tests.infra.postgres import server
from tests.infra.web import Web


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the developer's machine must not take part."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


@pytest.fixture
def other() -> Iterator[Web]:
    """A second origin."""
    server = Web()
    yield server
    server.close()


@pytest.fixture
def fetcher(settings: Settings, web: Web) -> Iterator[Fetcher]:
    """Trusts `web` only; small chunks, no pauses."""
    with Fetcher(settings, trusted_origins=[web.url], pause_s=0.0, chunk_bytes=1000) as door:
        yield door


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server of this session's own."""
    try:
        with server() as url:
            yield url
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'db.sqlite3'}"
    base = sa.make_url(request.getfixturevalue("postgres")).set(drivername="postgresql+psycopg")
    name = "t" + secrets.token_hex(8)
    engine = sa.create_engine(base, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return base.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
