"""How much the server takes on at once, in one place, and the queue in front of the engines.

Admission is a counter, not a scheduler: `slots` requests are at the engines, `queue` more wait in order, the rest are refused
at once with an honest Retry-After. Engines batch among the running ones themselves.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from llmos.errors import OverCapacity


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Figures of docs/promises.md. Bytes and seconds as named; body_bytes for one request, total_body_bytes for all at once."""

    body_bytes: int = 8 * 2**20
    total_body_bytes: int = 256 * 2**20
    body_s: float = 30.0
    header_bytes: int = 64 * 2**10
    header_s: float = 10.0
    keep_alive_s: int = 15
    connections: int = 512
    max_requests: int = 256
    unread_s: float = 30.0
    slots: int = 16
    queue: int = 64
    queue_s: float = 60.0


class Admission:
    """Slots and a queue. `acquire` raises OverCapacity when the queue is full or the wait is over."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._mean_s = 1.0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def retry_after_s(self) -> float:
        """When the last in the queue would be served, from the running mean of what requests took."""
        return min(self._mean_s * (self.waiting + 1) / self.limits.slots, self.limits.queue_s)

    async def acquire(self) -> Callable[[], None]:
        """Waits for a slot; the result gives it back and may be called more than once."""
        await self._acquire()
        start, held = time.monotonic(), True

        def release() -> None:
            nonlocal held
            if held:
                held = False
                self._mean_s += 0.1 * (time.monotonic() - start - self._mean_s)
                self._release()

        return release

    async def _acquire(self) -> None:
        if self.running < self.limits.slots and not self._waiting:
            self.running += 1
            return
        if self.waiting >= self.limits.queue:
            raise OverCapacity(f"{self.waiting} requests are waiting already.", retry_after_s=self.retry_after_s())
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self.limits.queue_s):
                await turn
        except BaseException as problem:
            if turn.done() and not turn.cancelled():
                self._release()  # the slot came at the same moment: hand it on
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(problem, TimeoutError):
                message = f"The request waited {self.limits.queue_s:g} s for an engine."
                raise OverCapacity(message, retry_after_s=self.retry_after_s()) from None
            raise

    def _release(self) -> None:
        """Hands the slot to the first in the queue, or frees it."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.running -= 1
