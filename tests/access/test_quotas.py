"""Quotas: never more than one request too many, with several servers at once, over restarts and kills; and not less than promised."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.access.base import Caller, Quotas
from llmos.access.holdings import check_disk, check_jobs
from llmos.access.quotas import BLOCK, IDLE_S, REQUESTS, TOKENS, QuotaBook, window_of
from llmos.errors import RateLimited
from llmos.infra.database import Database
from llmos.infra.tables import files, jobs, quota_use

NAMES = ("requests_per_day",)


def caller(**quotas: int) -> Caller:
    return Caller(key_id="key_1", account="key_1", quotas=Quotas(**quotas))


def taken(book: QuotaBook, who: Caller, names: tuple[str, ...], amount: int, times: int) -> int:
    """How many of `times` requests were let in, one after the other."""
    done = 0
    for _ in range(times):
        try:
            if not book.try_take(who, names, amount):
                book.take(who, names, amount)
            done += 1
        except RateLimited:
            pass
    return done


def used(database: Database, quota: str) -> int:
    with database.begin(read_only=True) as connection:
        return int(connection.execute(sa.select(quota_use.c.used).where(quota_use.c.quota == quota)).scalar_one())


def test_windows_are_those_of_utc() -> None:
    now = datetime(2026, 11, 22, 23, 59, 30, 250_000, tzinfo=UTC)
    assert window_of("requests_per_minute", now) == ("2026-11-22T23:59:00+00:00", 29.75)
    assert window_of("tokens_per_day", now) == ("2026-11-22T00:00:00+00:00", 29.75)


def test_exactly_as_many_requests_as_the_quota(database: Database) -> None:
    book, who = QuotaBook(database), caller(requests_per_day=100)
    assert taken(book, who, NAMES, 1, 150) == 100
    with pytest.raises(RateLimited, match="100 requests per day") as caught:
        book.take(who, NAMES, 1)
    assert caught.value.retry_after_s is not None and 0 < caught.value.retry_after_s <= 86_400
    standing = book.standing(who, NAMES)
    assert standing is not None and (standing.limit, standing.remaining) == (100, 0)


def test_a_quota_of_nothing_lets_nothing_in(database: Database) -> None:
    assert taken(QuotaBook(database), caller(requests_per_day=0), NAMES, 1, 3) == 0


def test_no_quota_costs_nothing(database: Database) -> None:
    book = QuotaBook(database)
    assert book.try_take(caller(), (*REQUESTS, *TOKENS), 10**9)
    assert book.standing(caller(), TOKENS) is None


def test_most_requests_ask_no_database(database: Database) -> None:
    book, who, asked = QuotaBook(database), caller(requests_per_day=10_000), 0
    for _ in range(1000):
        if not book.try_take(who, NAMES, 1):
            book.take(who, NAMES, 1)
            asked += 1
    assert asked == 1000 // (10_000 // BLOCK)


def test_all_quotas_or_none(database: Database) -> None:
    book, who = QuotaBook(database), caller(requests_per_minute=2, requests_per_day=50)
    assert taken(book, who, REQUESTS, 1, 10) in (2, 4)  # 4 when a minute began between
    book.give_back(all_of_it=True)
    assert used(database, "requests_per_day") in (2, 4)


def test_the_request_that_crosses_the_line_is_the_last(database: Database) -> None:
    book, who = QuotaBook(database), caller(tokens_per_day=1000)
    assert taken(book, who, ("tokens_per_day",), 300, 10) == 4


def test_what_was_not_needed_comes_back(database: Database) -> None:
    book, who, names = QuotaBook(database), caller(tokens_per_day=1000), ("tokens_per_day",)
    for _ in range(10):  # each reserves 900 and needs 100
        book.take(who, names, 900)
        book.settle(who, names, 100 - 900)
    with pytest.raises(RateLimited):
        book.take(who, names, 1)
    book.give_back(all_of_it=True)
    assert used(database, "tokens_per_day") == 1000


def test_more_than_reserved_is_charged_too(database: Database) -> None:
    book, who, names = QuotaBook(database), caller(tokens_per_day=1000), ("tokens_per_day",)
    book.take(who, names, 10)
    book.settle(who, names, 990)
    assert taken(book, who, names, 1, 3) == 0


def test_a_restart_changes_nothing(database: Database) -> None:
    who = caller(requests_per_day=100)
    first = QuotaBook(database)
    assert taken(first, who, NAMES, 1, 33) == 33
    first.give_back(all_of_it=True)
    assert used(database, "requests_per_day") == 33
    assert taken(QuotaBook(database), who, NAMES, 1, 100) == 67


def test_a_kill_never_gives_more_and_costs_a_block_at_most(database_url: str, database: Database) -> None:
    code = (
        "import sys\nfrom llmos.access.base import Caller, Quotas\nfrom llmos.access.quotas import QuotaBook\n"
        "from llmos.infra.database import Database\n"
        "book = QuotaBook(Database(sys.argv[1]))\nwho = Caller(account='key_1', quotas=Quotas(requests_per_day=100))\n"
        "for _ in range(33): book.take(who, ('requests_per_day',), 1)\nprint('taken', flush=True)\nsys.stdin.read()"
    )
    command = [sys.executable, "-c", code, database_url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "taken\n"
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
    left = taken(QuotaBook(database), caller(requests_per_day=100), NAMES, 1, 100)
    assert 67 - 100 // BLOCK <= left <= 67


@pytest.mark.parametrize("amount", [1, 7, 90])
def test_servers_and_threads_share_a_quota(database: Database, amount: int) -> None:
    """Four servers of four threads each: together not more than one request over, and not less than the quota."""
    books, who, names = [QuotaBook(database) for _ in range(4)], caller(tokens_per_day=1000), ("tokens_per_day",)
    counts: list[int] = []

    def work(book: QuotaBook) -> None:
        counts.append(taken(book, who, names, amount, 120 if amount == 1 else 1000 // amount))

    threads = [threading.Thread(target=work, args=(book,)) for book in books for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = sum(counts) * amount
    held_at_most = len(books) * max(amount, 1000 // BLOCK)
    assert 1000 - held_at_most <= total < 1000 + amount
    for book in books:  # what one holds idle goes back, and another gets it
        book.give_back(all_of_it=True)
    assert 1000 <= total + taken(QuotaBook(database), who, names, amount, 1000 // amount + 1) * amount < 1000 + amount


def test_an_idle_block_goes_back(database: Database) -> None:
    book, who = QuotaBook(database), caller(requests_per_day=1000)
    book.take(who, NAMES, 1)
    book.give_back()
    assert used(database, "requests_per_day") == 50  # not idle yet
    threading.Event().wait(IDLE_S + 0.1)
    book.give_back()
    assert used(database, "requests_per_day") == 1


def test_an_earlier_window_is_over(database: Database) -> None:
    with database.begin() as connection:
        row = {"key_id": "key_1", "quota": "requests_per_day", "window": "2020-01-01T00:00:00+00:00", "used": 10**6}
        connection.execute(sa.insert(quota_use).values(**row))
    assert taken(QuotaBook(database), caller(requests_per_day=3), NAMES, 1, 5) == 3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 900), st.integers(0, 200)), max_size=60))
def test_however_requests_come_the_overshoot_is_one_request(steps: list[tuple[int, int, int]]) -> None:
    """Any order of requests at three servers, each reserving `most` and needing less, never uses more than the quota and one."""
    database = Database("sqlite:///file:quota?mode=memory&cache=shared&uri=true")
    database.migrate()
    books, who, names, limit = [QuotaBook(database) for _ in range(3)], caller(tokens_per_day=1000), ("tokens_per_day",), 1000
    spent = 0
    for server, most, wanted in steps:
        needed = min(wanted, most)
        try:
            books[server].take(who, names, most)
        except RateLimited:
            continue
        books[server].settle(who, names, needed - most)
        assert spent < limit  # so the quota was not used up when this one was let in
        spent += needed
    database.close()


def row_of_job(number: int, key: str, state: str) -> dict[str, object]:
    texts = dict.fromkeys(("params", "resources", "retry", "labels", "progress"), "{}")
    numbers = dict.fromkeys(("attempt", "failures", "lost", "beat", "last_seq"), 0)
    named = {"kind": "k", "project": "p", "priority": "normal", "wish": "", "runner": "", "created_at": "2026-11-22"}
    return {"id": f"job_{number}", "submitted_by": key, "state": state, **texts, **numbers, **named}


def test_jobs_are_counted_while_they_are_not_over(database: Database) -> None:
    who = caller(jobs=3)
    with database.begin() as connection:
        for number, (key, state) in enumerate(
            [("key_1", "queued"), ("key_2", "paused"), ("key_1", "succeeded"), ("key_3", "running"), ("key_1", "failed")]
        ):
            connection.execute(sa.insert(jobs).values(**row_of_job(number, key, state)))
    check_jobs(database, who, ("key_1", "key_2"))
    with pytest.raises(RateLimited, match="3 unfinished jobs"):
        check_jobs(database, who, ("key_1", "key_2", "key_3"))
    check_jobs(database, caller(), ("key_1", "key_2", "key_3"))


def test_files_are_counted_in_bytes(database: Database) -> None:
    who = caller(disk_bytes=1000)
    row = {"project": "p", "filename": "f", "purpose": "batch", "size_bytes": 600, "sha256": "0" * 64, "created_at": "2026-11-22"}
    with database.begin() as connection:
        connection.execute(sa.insert(files).values(id="file_1", created_by="key_1", **row))
        connection.execute(sa.insert(files).values(id="file_2", created_by="key_2", **row))
    check_disk(database, who, ("key_1",), 400)
    with pytest.raises(RateLimited, match="over its quota of 1,000"):
        check_disk(database, who, ("key_1",), 401)
    check_disk(database, caller(), ("key_1", "key_2"), 10**12)
