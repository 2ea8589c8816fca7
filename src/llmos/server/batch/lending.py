"""The server's end of the broker: jobs use its engines through the same door as requests, as batch work, and pay as their owners do.

Few of them stand in the queue at a time: it belongs to those who wait for their answers.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from llmos.access.base import LOCAL, Caller
from llmos.access.quotas import TOKENS
from llmos.engine.broker import Broker
from llmos.errors import LLMOSError, NotFound
from llmos.infra.logs import get_logger
from llmos.kernel.base import Priority
from llmos.server.work import session_of

if TYPE_CHECKING:
    from llmos.engine.session import Session
    from llmos.server.limits import Place
    from llmos.server.state import State
    from llmos.types import Usage

log = get_logger("server")
QUEUED = 8  # requests of all jobs that wait for admission at once
WAIT_S = 600.0  # of one of them, then it is told to come again
OWNERS = 256


class Lending:
    """One an app; `start` on its event loop."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queued = threading.BoundedSemaphore(QUEUED)
        self._owner = lru_cache(OWNERS)(self._look_up)
        self.broker = Broker(state.settings.run_folder, self._session, self._admit, self._meter)

    def start(self) -> None:
        """Jobs of a home that another server serves use that one's engines; where no socket can be made they load their own."""
        self._loop = asyncio.get_running_loop()
        try:
            lends = self.broker.start()
        except (OSError, LLMOSError) as problem:
            log.warning("jobs will load models of their own: %s", problem)
            return
        if not lends:
            log.info("another server lends the engines of this home")

    def close(self) -> None:
        self.broker.close()

    def _session(self, name: str, whose: str, shares: bool) -> Session:
        """As the job's owner sees it."""
        return session_of(self._state, self._owner(whose), name, load=False, shares=shares)

    def _admit(self, tokens: int, whose: str) -> Callable[[int], None]:
        """From a thread of the broker; the result may be called from any."""
        loop, admission = self._loop, self._state.admission
        assert loop is not None
        owner = self._owner(whose)
        key = owner.account or owner.key_id or None
        with self._queued:
            place: Place = asyncio.run_coroutine_threadsafe(
                admission.acquire(tokens, key, Priority.BATCH, wait_s=WAIT_S), loop
            ).result()
        return lambda written: _in(loop, lambda: place.release(written))

    def _meter(self, whose: str, model: str, usage: Usage) -> None:
        owner, state = self._owner(whose), self._state
        state.metrics.used(model, usage)
        state.access.usage.add(owner, model, usage)
        state.access.quotas.settle(owner, TOKENS, usage.total_tokens)

    def _look_up(self, whose: str) -> Caller:
        """Who submitted the job, with the quotas of the key; the local user for what is no job."""
        try:
            job = self._state.jobs.get(whose)
        except NotFound:
            return LOCAL
        known = self._state.access.ring.of(job.submitted_by)
        return known or Caller(key_id=job.submitted_by, account=job.submitted_by, project=job.project, scopes=frozenset())


def _in(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """On the loop, unless it has ended: then nobody waits for the place."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(call)
