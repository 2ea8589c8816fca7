"""Who waits for news of jobs: woken by them, at the cost of one look at the database a change, however many wait."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from llmos.infra.database import Database
from llmos.kernel.base import Job, JobSpec
from llmos.kernel.store import JobStore
from llmos.server.watch import TICK_S, Watcher
from tests.jobs import until

NUM_WAITERS = 20
PATIENCE_S = 60.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    database = Database(f"sqlite:///{tmp_path / 'db.sqlite3'}")
    database.migrate()
    yield JobStore(database)
    database.close()


def crowd(watcher: Watcher, job: Job) -> list[asyncio.Task[bool]]:
    return [asyncio.create_task(watcher.wait(job.id, 1, PATIENCE_S)) for _ in range(NUM_WAITERS)]


async def test_who_follows_costs_one_look_a_change(store: JobStore) -> None:
    """Twenty wait for a job that does nothing: the database is asked when somebody comes or something changed, not while they wait."""
    first, other = store.submit(JobSpec(kind="test-empty")), store.submit(JobSpec(kind="test-empty"))
    asked: list[set[str]] = []

    def last_seqs(ids: Collection[str]) -> dict[str, int]:
        asked.append(set(ids))
        return store.last_seqs(ids)

    watcher = Watcher(store.database, last_seqs, lambda: False)
    waiting = crowd(watcher, first)
    await asyncio.sleep(20 * TICK_S)
    assert asked == [{first.id}] and watcher.looks == 1
    await asyncio.to_thread(store.cancel, other.id)  # a change that is nothing to them
    await asyncio.to_thread(until, lambda: watcher.looks > 1)
    await asyncio.sleep(10 * TICK_S)
    assert watcher.looks == 2 and not any(task.done() for task in waiting)
    await asyncio.to_thread(store.cancel, first.id)
    assert await asyncio.gather(*waiting) == [True] * NUM_WAITERS
    assert watcher.looks == 3 and watcher.waiting == set()


async def test_a_job_that_is_gone_is_news(store: JobStore) -> None:
    job = store.submit(JobSpec(kind="test-empty"))
    store.cancel(job.id)
    watcher = Watcher(store.database, store.last_seqs, lambda: False)
    waiting = asyncio.create_task(watcher.wait(job.id, 2, PATIENCE_S))
    await asyncio.sleep(2 * TICK_S)
    store.remove(job.id)
    assert await waiting


async def test_nobody_waits_longer_than_asked_or_than_the_server_lives(store: JobStore) -> None:
    job = store.submit(JobSpec(kind="test-empty"))
    stopping = False
    watcher = Watcher(store.database, store.last_seqs, lambda: stopping)
    assert not await watcher.wait(job.id, 1, 0.2)
    waiting = crowd(watcher, job)
    await asyncio.sleep(2 * TICK_S)
    assert len(watcher.waiting) == NUM_WAITERS
    stopping = True
    assert await asyncio.gather(*waiting) == [True] * NUM_WAITERS
