"""How much the server takes on at once, in one place, and the queue in front of the engines.

Admission counts, it does not schedule: so many requests and prompt tokens are at the engines, so many more wait in order, the rest
are refused at once with an honest Retry-After. Engines batch among the running ones themselves.

    at the engines  `slots` requests and `slot_tokens` prompt tokens     one request alone always has a place, whatever its length
    waiting         `queue` requests, `key_queue` of one key, `queue_tokens`      503 over_capacity; for the key's own share 429
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from llmos.engine.loading import MAX_BATCH
from llmos.errors import OverCapacity, RateLimited


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Figures of docs/server.md. slots: what an engine runs at once. Bytes and seconds as named; body_bytes for one request,
    total_body_bytes for all at once."""

    body_bytes: int = 8 * 2**20
    total_body_bytes: int = 256 * 2**20
    body_s: float = 30.0
    header_bytes: int = 64 * 2**10
    header_s: float = 10.0
    keep_alive_s: int = 15
    connections: int = 512
    max_requests: int = 256
    unread_s: float = 30.0
    slots: int = MAX_BATCH
    slot_tokens: int = 2**18
    queue: int = 64
    key_queue: int = 16
    queue_tokens: int = 2**20
    queue_s: float = 60.0


@dataclass(eq=False, slots=True)
class _Waiting:
    turn: asyncio.Future[None]
    tokens: int
    key: str | None


class Admission:
    """Slots and a queue, first come first served."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.running = 0
        self.running_tokens = 0
        self._queue: deque[_Waiting] = deque()
        self._mean_s = 1.0

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def waiting_tokens(self) -> int:
        return sum(one.tokens for one in self._queue)

    def retry_after_s(self) -> float:
        """When the last in the queue would be served, from the running mean of what requests took."""
        return min(self._mean_s * (self.waiting + 1) / self.limits.slots, self.limits.queue_s)

    async def acquire(self, tokens: int = 0, key: str | None = None) -> Callable[[], None]:
        """Waits for a slot for a prompt of about `tokens`; the result gives it back and may be called more than once.

        Raises OverCapacity when the queue is full or the wait is over, RateLimited when `key` has its share of the queue.
        """
        if self._queue or not self._fits(tokens):
            await self._wait(tokens, key)
        else:
            self._take(tokens)
        start, held = time.monotonic(), True

        def release() -> None:
            nonlocal held
            if held:
                held = False
                self._mean_s += 0.1 * (time.monotonic() - start - self._mean_s)
                self._give_back(tokens)

        return release

    def _fits(self, tokens: int) -> bool:
        return not self.running or (self.running < self.limits.slots and self.running_tokens + tokens <= self.limits.slot_tokens)

    def _take(self, tokens: int) -> None:
        self.running += 1
        self.running_tokens += tokens

    async def _wait(self, tokens: int, key: str | None) -> None:
        self._check_queue(tokens, key)
        place = _Waiting(asyncio.get_running_loop().create_future(), tokens, key)
        self._queue.append(place)
        try:
            async with asyncio.timeout(self.limits.queue_s):
                await place.turn
        except BaseException as problem:
            if place.turn.done() and not place.turn.cancelled():
                self._give_back(tokens)  # the slot came at the same moment: hand it on
            elif place in self._queue:
                self._queue.remove(place)
                self._call_next()  # who stood behind it may fit
            if isinstance(problem, TimeoutError):
                message = f"The request waited {self.limits.queue_s:g} s for an engine."
                raise OverCapacity(message, retry_after_s=self.retry_after_s()) from None
            raise

    def _check_queue(self, tokens: int, key: str | None) -> None:
        limits, again = self.limits, self.retry_after_s()
        if self.waiting >= limits.queue:
            raise OverCapacity(f"{self.waiting} requests are waiting already.", retry_after_s=again)
        if self._queue and self.waiting_tokens + tokens > limits.queue_tokens:
            message = f"Requests with about {self.waiting_tokens} prompt tokens are waiting already; this one has about {tokens}."
            raise OverCapacity(message, retry_after_s=again)
        if key is not None and sum(one.key == key for one in self._queue) >= limits.key_queue:
            raise RateLimited(f"{limits.key_queue} requests with this key are waiting already.", retry_after_s=again)

    def _give_back(self, tokens: int) -> None:
        self.running -= 1
        self.running_tokens -= tokens
        self._call_next()

    def _call_next(self) -> None:
        """Hands free slots to the first in the queue, in order."""
        while self._queue and (self._queue[0].turn.done() or self._fits(self._queue[0].tokens)):
            place = self._queue.popleft()
            if not place.turn.done():
                self._take(place.tokens)
                place.turn.set_result(None)
