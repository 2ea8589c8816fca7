"""What the tests of annotation share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmos.data.annotate.service import Annotations
from llmos.infra.database import Database


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Annotations]:
    database = Database(f"sqlite:///{tmp_path / 'db.sqlite3'}")
    database.migrate()
    yield Annotations(database)
    database.close()
