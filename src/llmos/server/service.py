"""The kernel's part of a server: the queue of jobs, the runner that works it off, and who follows it.

    starts with the app -> runs jobs -> the server drains: running jobs save a checkpoint and go back into the queue -> closed

Draining begins with the first signal, while the last answers are still being written, so that both fit into the time of a stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llmos.engine.pool import Pool
from llmos.infra.database import Database
from llmos.kernel.jobs import Jobs
from llmos.kernel.runner import Runner
from llmos.server.watch import Watcher
from llmos.settings import Settings

_LOOK_S = 0.1  # how often it is looked whether the server drains


class JobService:
    """stopping: true once the server drains. Jobs stand in one book of the memory with the engines of the pool, and idle engines
    make room for them. The database is the app's to close, after this."""

    def __init__(self, settings: Settings, database: Database, stopping: Callable[[], bool], pool: Pool) -> None:
        self.runner = Runner(settings, database, budget=pool.budget, make_room=pool.make_room)
        self.jobs = Jobs(settings, database, runner=self.runner)
        self.watcher = Watcher(database, self.jobs.store.last_seqs, stopping)
        self._stopping = stopping
        self._drain: asyncio.Task[None] | None = None

    def start(self) -> None:
        """On the app's event loop."""
        self.runner.start()
        self._drain = asyncio.create_task(self._end_with_the_server())

    async def _end_with_the_server(self) -> None:
        while True:
            if self._stopping():
                break
            await asyncio.sleep(_LOOK_S)
        await asyncio.to_thread(self.runner.drain)

    async def close(self) -> None:
        """Once the server drains. Returns when no job of it runs any more."""
        if self._drain is not None:
            await self._drain
