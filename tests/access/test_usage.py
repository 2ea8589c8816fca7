"""Usage by key, model and day: nothing counted twice, nothing lost when the database is away for a while."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from llmos.access.base import LOCAL, Caller
from llmos.access.usage import UsageBook
from llmos.errors import StorageError
from llmos.infra.database import Database
from llmos.types import Usage

ALICE = Caller(key_id="key_a", account="key_a", project="shop")
ONE = Usage(prompt_tokens=10, completion_tokens=5, cached_tokens=3)


def test_counts_add_up_over_servers(database: Database) -> None:
    books = [UsageBook(database), UsageBook(database)]
    for book in books:
        book.add(ALICE, "smollm2", ONE)
        book.add(ALICE, "smollm2", ONE)
        book.add(LOCAL, "smollm2", ONE)
        book.write()
    today = datetime.now(UTC).date().isoformat()
    rows = {(row.key_id, row.model): row for row in books[0].report()}
    mine = rows["key_a", "smollm2"]
    assert (mine.requests, mine.prompt_tokens, mine.completion_tokens, mine.cached_tokens) == (4, 40, 20, 12)
    assert (mine.day, mine.project, rows["", "smollm2"].requests) == (today, "shop", 2)


def test_a_report_is_of_one_key_project_or_time(database: Database) -> None:
    book = UsageBook(database)
    book.add(ALICE, "a", ONE)
    book.add(LOCAL, "b", ONE)
    assert [row.model for row in book.report(key_ids=("key_a",))] == ["a"]
    assert [row.model for row in book.report(project="default")] == ["b"]
    assert book.report(last_day="2020-01-01") == []
    assert len(book.report(first_day="2020-01-01")) == 2


def test_what_cannot_be_written_stays_counted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    away = Database(f"sqlite:///{tmp_path / 'file' / 'db'}")
    book = UsageBook(away)
    book.add(ALICE, "a", ONE)
    with pytest.raises(StorageError):
        book.write()
    (tmp_path / "file").unlink()
    (tmp_path / "file").mkdir()
    away.migrate()
    book.add(ALICE, "a", ONE)
    assert [row.requests for row in book.report()] == [2]
    away.close()
