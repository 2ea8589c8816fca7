"""Keys, quotas, usage and audit run on SQLite and on PostgreSQL, with the same tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llmos.access.keys import Keys
from llmos.access.secret import Secret
from llmos.infra.database import Database


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture
def secret() -> Secret:
    return Secret(b"s" * 32)


@pytest.fixture
def keys(database: Database, secret: Secret) -> Keys:
    return Keys(database, secret)
