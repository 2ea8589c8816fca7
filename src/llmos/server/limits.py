"""How much the server takes on at once, in one place, and the queue in front of the engines.

A thin shell: who starts, who waits and who is refused with which Retry-After is decided in kernel/scheduling.py, from records. Here
they are kept, and who waits is woken. Engines batch among the running ones themselves.

    at the engines  `slots` requests and `slot_tokens` prompt tokens     one request alone always has a place, whatever its length
    waiting         `queue` requests, `key_queue` of one key, `queue_tokens`      503 over_capacity; for the key's own share 429
"""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass

from llmos.engine.loading import MAX_BATCH
from llmos.errors import OverCapacity, RateLimited
from llmos.kernel import scheduling
from llmos.kernel.base import Priority
from llmos.kernel.scheduling import Bounds, Pace, Running, Shares, View, Waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Figures of docs/server.md. slots: what an engine runs at once. Bytes and seconds as named; body_bytes for one request,
    total_body_bytes for all at once, upload_bytes for a file, which goes to disk."""

    body_bytes: int = 8 * 2**20
    total_body_bytes: int = 256 * 2**20
    upload_bytes: int = 512 * 2**20
    body_s: float = 30.0
    header_bytes: int = 64 * 2**10
    header_s: float = 10.0
    keep_alive_s: int = 15
    connections: int = 512
    max_requests: int = 256
    unread_s: float = 30.0
    heartbeat_s: float = 15.0
    slots: int = MAX_BATCH
    slot_tokens: int = 2**18
    queue: int = 64
    key_queue: int = 16
    queue_tokens: int = 2**20
    queue_s: float = 60.0


class Place:
    """A place at the engines, held until `release`."""

    def __init__(self, admission: Admission, request: Waiting) -> None:
        self._admission, self._request = admission, request
        self._since = time.monotonic()
        self._held = True

    def release(self, written: int = 0) -> None:
        """Gives the place back; `written` tokens count against the key's share. May be called more than once."""
        if self._held:
            self._held = False
            self._admission.end(self._request, time.monotonic() - self._since, written)


class Admission:
    """Slots and a queue. Belongs to one event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._bounds = Bounds(
            slots=limits.slots,
            slot_tokens=limits.slot_tokens,
            queue=limits.queue,
            queue_tokens=limits.queue_tokens,
            key_queue=limits.key_queue,
        )
        self._shares, self._pace = Shares(), Pace()
        self._full_at = time.monotonic()  # when all slots were in use last
        self._ids = itertools.count()
        self._waiting: dict[int, Waiting] = {}
        self._turns: dict[int, asyncio.Future[None]] = {}
        self._running: dict[int, Running] = {}

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def running_tokens(self) -> int:
        return sum(one.tokens for one in self._running.values())

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def waiting_by_class(self) -> dict[str, int]:
        """Requests in the queue, of every class."""
        waiting = [one.priority for one in list(self._waiting.values())]  # asked from other threads
        return {priority.value: waiting.count(priority) for priority in Priority}

    @property
    def waiting_tokens(self) -> int:
        return sum(one.tokens for one in self._waiting.values())

    async def acquire(
        self, tokens: int = 0, key: str | None = None, priority: str = Priority.INTERACTIVE, *, wait_s: float | None = None
    ) -> Place:
        """Waits for a place for a prompt of about `tokens`. key: whose it is, None for everybody who has none. wait_s: the longest
        wait, `queue_s` of the limits unless told otherwise.

        Raises OverCapacity when the queue is full or the wait is over, RateLimited when `key` has its share of the queue.
        """
        request = Waiting(id=next(self._ids), key=key or "", priority=Priority(priority), tokens=tokens, since=time.monotonic())
        if len(self._running) < self.limits.slots:
            self._pace = scheduling.calmed(self._pace, request.since - self._full_at)
        turn = asyncio.get_running_loop().create_future()
        self._waiting[request.id], self._turns[request.id] = request, turn
        self._start()
        if not turn.done():
            self._refuse(request)
            await self._wait(request, turn, self.limits.queue_s if wait_s is None else wait_s)
        return Place(self, request)

    def _view(self) -> View:
        waiting, running = list(self._waiting.values()), list(self._running.values())
        return View(waiting=waiting, running=running, bounds=self._bounds, now=time.monotonic())

    def _start(self) -> None:
        """Gives every free place to who is next."""
        while self._waiting and (request := scheduling.choose_next(self._view(), self._shares)) is not None:
            self._shares = scheduling.started(self._view(), self._shares, request)
            turn = self._leave(request)
            self._running[request.id] = Running(id=request.id, key=request.key, priority=request.priority, tokens=request.tokens)
            turn.set_result(None)

    def _leave(self, request: Waiting) -> asyncio.Future[None]:
        del self._waiting[request.id]
        return self._turns.pop(request.id)

    def _refuse(self, request: Waiting) -> None:
        """Raises when there is no place in the queue for one that has just come."""
        turn = self._leave(request)
        refusal = scheduling.refuse(self._view(), self._pace, request)
        if refusal is not None:
            error = RateLimited if refusal.own else OverCapacity
            raise error(refusal.why, retry_after_s=self._come_back(request))
        self._waiting[request.id], self._turns[request.id] = request, turn

    def _come_back(self, request: Waiting) -> float:
        """In how many seconds a refused request has its turn; nobody else is told the same one."""
        view = self._view()
        seconds = scheduling.retry_after_s(view, self._pace, request)
        self._pace = scheduling.told(self._pace, request.key, view.now + seconds, view.now)
        return seconds

    async def _wait(self, request: Waiting, turn: asyncio.Future[None], wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await turn
        except BaseException as problem:
            if request.id in self._running:
                self.end(request, None)  # the place came at the same moment: hand it on
            elif request.id in self._waiting:
                self._leave(request)
                self._start()  # who stood behind it may fit
            if isinstance(problem, TimeoutError):
                raise OverCapacity(
                    f"The request waited {wait_s:g} s for an engine.", retry_after_s=self._come_back(request)
                ) from None
            raise

    def end(self, request: Waiting, took_s: float | None, written: int = 0) -> None:
        """The place of a running request is free again. took_s: None when it was never used."""
        if len(self._running) == self.limits.slots:
            self._full_at = time.monotonic()
        del self._running[request.id]
        if took_s is not None:
            self._pace = scheduling.ended(self._pace, took_s)
        if written:
            self._shares = scheduling.charged(self._shares, request.priority, request.key, written)
        self._start()
