"""Who follows jobs over HTTP is woken here: one look at the database for all streams of an app, and none when nobody follows.

SQLite tells for microseconds that something was committed (Database.version); only then is the table asked, once for all jobs that
somebody follows. PostgreSQL is asked twice a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass

from llmos.infra.database import Database
from llmos.infra.logs import get_logger

log = get_logger("server")
TICK_S = 0.05
BLIND_TICK_S = 0.5  # where the database has no version to look at


@dataclass(eq=False, slots=True)
class Waiter:
    job_id: str
    after: int
    news: asyncio.Future[None]


class Watcher:
    """last_seqs: the number of the newest event of each of those jobs, without those that are gone; called in a thread.
    stopping: true once the server drains; everybody is woken then. Used from one event loop."""

    def __init__(
        self, database: Database, last_seqs: Callable[[Collection[str]], dict[str, int]], stopping: Callable[[], bool]
    ) -> None:
        self._database, self._last_seqs, self._stopping = database, last_seqs, stopping
        self.waiting: set[Waiter] = set()
        self._new = False  # somebody has come since the last look
        self._task: asyncio.Task[None] | None = None
        self.looks = 0  # queries so far, for tests

    async def wait(self, job_id: str, after: int, timeout_s: float) -> bool:
        """True when the job has an event after number `after`, is gone, or the server stops; False when the time is over."""
        waiter = Waiter(job_id, after, asyncio.get_running_loop().create_future())
        self.waiting.add(waiter)
        self._new = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            async with asyncio.timeout(timeout_s):
                await waiter.news
        except TimeoutError:
            return False
        finally:
            self.waiting.discard(waiter)
        return True

    async def _run(self) -> None:
        seen = version = None
        while self.waiting:
            try:
                version = self._database.version()
                if self._stopping():
                    self._wake(set(self.waiting))
                elif version is None or version != seen or self._new:
                    seen, self._new = version, False
                    await self._look()
            except Exception:
                log.exception("following jobs failed; trying again")
                seen = None
            await asyncio.sleep(BLIND_TICK_S if version is None else TICK_S)

    async def _look(self) -> None:
        waiters = set(self.waiting)
        self.looks += 1
        found = await asyncio.to_thread(self._last_seqs, {waiter.job_id for waiter in waiters})
        self._wake({waiter for waiter in waiters if found.get(waiter.job_id, waiter.after + 1) > waiter.after})

    def _wake(self, waiters: set[Waiter]) -> None:
        for waiter in waiters:
            if not waiter.news.done():
                waiter.news.set_result(None)
