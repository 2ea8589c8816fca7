"""Keys, quotas, usage and audit run on SQLite and on PostgreSQL, with the same tests."""

from __future__ import annotations

import pytest

from llmos.access.keys import Keys
from llmos.access.secret import Secret
from llmos.infra.database import Database


@pytest.fixture
def secret() -> Secret:
    return Secret(b"s" * 32)


@pytest.fixture
def keys(database: Database, secret: Secret) -> Keys:
    return Keys(database, secret)
