"""Keeps the window of a batch full: reads items in the order of work, asks the Answerer, writes each outcome to the log.

At most `window` items are held at a time, so memory does not grow with the input. Of items that open alike the first goes ahead until
its prompt is read; the others then find what they share computed. An error that may pass is tried again; any other one is
the item's answer. A StorageError, and whatever Control.step raises, ends the run; what was in flight is asked again by the next.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from llmos.engine.batch.base import WINDOW, Answerer, Control, Counts, Item, Outcome
from llmos.engine.batch.finish import Ending
from llmos.engine.batch.log import ResultLog
from llmos.engine.batch.plan import Place, Work
from llmos.engine.borrow import ServiceGone
from llmos.errors import Cancelled, EngineDied, OverCapacity, RateLimited, SourceError, StorageError

T = TypeVar("T")
TICK_S = 0.25  # between two looks at what the Control wants
REPORT_S = 1.0  # between two reports, and two syncs of the log
PATIENCE_S = 3600.0  # how long an item is tried again while the engines are over capacity
MAX_BACKOFF_S = 30.0
MAX_FAULTS = 4  # attempts of an item at engines that die or cannot be reached
MAX_GROUPS = 256  # whose first item is remembered
_PASSING = (OverCapacity, RateLimited, EngineDied, SourceError, Cancelled)


class Runner:
    """One run over what is pending. until: a time.time() after which nothing more is asked, or None. shared: whether the engine
    computes what prompts have in common once, so that waiting for the first of a group pays."""

    def __init__(
        self,
        plan: Work,
        log: ResultLog,
        counts: Counts,
        answerer: Answerer,
        control: Control,
        *,
        window: int = WINDOW,
        until: float | None = None,
        shared: bool = True,
    ) -> None:
        self.plan, self.log, self.counts = plan, log, counts
        self.answerer, self.control, self.until = answerer, control, until
        self._shared = shared
        self._window = asyncio.Semaphore(window)
        self._go = asyncio.Event()
        self._warm: OrderedDict[int, asyncio.Event] = OrderedDict()  # group -> whether its first item has read its prompt
        self._running: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Event = asyncio.Event()
        self._error: BaseException | None = None
        self._thread = ThreadPoolExecutor(1, "llmos-batch")  # for what may block: the Control, the disk

    async def run(self) -> Ending:
        """ "completed" when every item has a line, "expired" when the time was over before. Raises what ended it otherwise."""
        self._go.set()
        feed, tick = asyncio.create_task(self._feed()), asyncio.create_task(self._tick())
        failed = asyncio.create_task(self._failed.wait())
        try:
            await asyncio.wait((feed, tick, failed), return_when=asyncio.FIRST_COMPLETED)
            if self._error is not None:
                raise self._error
            if feed.done():
                await feed
                return "completed"
            return await tick
        finally:
            await self._stop(feed, tick, failed, *self._running)

    async def _stop(self, *tasks: asyncio.Task[object]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self.log.sync)
        await asyncio.to_thread(self.control.report, self.counts)

    # -- feeding -------------------------------------------------------------------------------------------------------
    async def _feed(self) -> None:
        for place in self.plan.pending():
            await self._go.wait()
            opened = await self._turn(place) if place.shared and self._shared else None
            await self._window.acquire()
            task = asyncio.create_task(self._one(place, opened))
            self._running.add(task)
            task.add_done_callback(self._over)
        while self._running:
            await asyncio.wait(self._running)

    async def _turn(self, place: Place) -> asyncio.Event | None:
        """Waits for the first item of the group to have read its prompt. For that first item: what it shall set."""
        warm = self._warm.get(place.root)
        if warm is not None:
            await warm.wait()
            return None
        self._warm[place.root] = warm = asyncio.Event()
        if len(self._warm) > MAX_GROUPS:
            self._warm.popitem(last=False)
        return warm

    def _over(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._window.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._error = self._error or error
            self._failed.set()

    # -- one item ------------------------------------------------------------------------------------------------------
    async def _one(self, place: Place, opened: asyncio.Event | None) -> None:
        item = self.plan.item(place)
        try:
            outcome = await self._outcome(item, opened.set if opened else None)
        finally:
            if opened:
                opened.set()
        line = json.dumps(result_line(item, outcome), ensure_ascii=False, separators=(",", ":")).encode()
        self.log.append(item.number, ok=outcome.ok, usage=outcome.usage, line=line)
        self.counts.new += 1
        self.counts.add(outcome.ok, outcome.usage)

    async def _outcome(self, item: Item, warm: Callable[[], None] | None) -> Outcome:
        since, faults = time.monotonic(), 0
        while True:
            try:
                return await self.answerer.answer(item, warm)
            except (StorageError, ServiceGone):
                raise
            except _PASSING as error:
                crowded = isinstance(error, OverCapacity | RateLimited)
                faults += 1
                if time.monotonic() - since > PATIENCE_S or (not crowded and faults >= MAX_FAULTS):
                    return self.answerer.refusal(error)
                await asyncio.sleep(error.retry_after_s or min(0.5 * 2.0**faults, MAX_BACKOFF_S))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer of this item and of no other
                return self.answerer.refusal(error)

    # -- the Control ---------------------------------------------------------------------------------------------------
    async def _tick(self) -> Ending:
        reported = time.monotonic()
        while True:
            if self.until is not None and time.time() >= self.until:
                return "expired"
            self._go.clear()
            await self._aside(self.control.step)
            self._go.set()
            if time.monotonic() - reported >= REPORT_S:
                await self._aside(self.log.sync)
                await self._aside(lambda: self.control.report(self.counts))
                reported = time.monotonic()
            await asyncio.sleep(TICK_S)

    async def _aside(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def result_line(item: Item, outcome: Outcome) -> dict[str, object]:
    """A line of the output or error file, as the OpenAI API writes it."""
    name = uuid.uuid4().hex
    response = {"status_code": outcome.status, "request_id": f"req_{name}", "body": outcome.body}
    return {"id": f"batch_req_{name}", "custom_id": item.custom_id, "response": response, "error": None}
