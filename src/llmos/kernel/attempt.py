"""One attempt of a job from the inside, wherever it runs: finds the kind, runs it, tells how it ended. The child process (child.py)
and a cluster's actor use it; they only bring messages to and fro.

    attempt = InnerAttempt(order, send)        send: a blocking function that brings a message to the runner
    attempt.deliver(message)                   from the thread that reads what the runner says
    attempt.run()                              returns when the outcome is acknowledged

A thread of its own beats and sends what was reported, so that a busy or waiting job is heard of, and a stopped one is not.
"""

from __future__ import annotations

import importlib
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from llmos.errors import Cancelled, InvalidValue, LLMOSError
from llmos.kernel.base import Job, JobProgress, kinds
from llmos.kernel.context import JobContext, Turns
from llmos.kernel.messages import (
    MAX_MESSAGE_BYTES,
    Ack,
    Beat,
    Checkpoint,
    Event,
    Left,
    News,
    Problem,
    Result,
    Start,
    ToAttempt,
    ToRunner,
    Wanted,
    Why,
    check_json,
    encode,
)
from llmos.kernel.output import MAX_LINE_CHARS, LogLimit, log_event, plain
from llmos.kernel.policy import may_pass
from llmos.settings import Settings

FLUSH_S = 0.1
MAX_UNSENT = 1000
MAX_EVENT_BYTES = 64 << 10
Send = Callable[[ToRunner], None]
Numbered = Checkpoint | Result | Problem | Left


class Reporter:
    """The way out of an attempt (context.Port): events in batches, acknowledged messages one by one, a beat in between."""

    def __init__(self, send: Send, heartbeat_s: float) -> None:
        self._send, self._heartbeat_s = send, heartbeat_s
        self._lock = threading.Lock()  # of what is unsent
        self._sending = threading.Lock()  # keeps the order: whoever holds it empties what is unsent first
        self._events: list[Event] = []
        self._progress: JobProgress | None = None
        self._limit = LogLimit()
        self._acks: dict[int, bool] = {}
        self._acked = threading.Condition()
        self._number = 0
        self._some = threading.Event()
        threading.Thread(target=self._run, name="reporter", daemon=True).start()

    def report(self, event: Event | None, progress: JobProgress | None) -> None:
        if event is not None:
            event = _bounded(event)
        with self._lock:
            if event is not None:
                self._events.extend(self._limit.admit(event) if event.type == "log" else (event,))
            self._progress = progress or self._progress
            full = len(self._events) >= MAX_UNSENT
        self._some.set()
        if full:
            self.flush()

    def flush(self) -> None:
        with self._sending:
            self._empty()

    def _empty(self) -> None:
        with self._lock:
            events, self._events = self._events, []
            progress, self._progress = self._progress, None
        size = MAX_MESSAGE_BYTES // MAX_EVENT_BYTES // 2
        for start in range(0, len(events), size):
            self._send(News(events[start : start + size]))
        if progress is not None:
            self._send(News([], progress))

    def commit(self, make: Callable[[int], Numbered]) -> bool:
        with self._sending:
            self._number += 1
            number = self._number
            message = make(number)
            encode(message)  # whether it can be sent at all: its own error, before anything is sent
            self._empty()
            self._send(message)
        with self._acked:
            self._acked.wait_for(lambda: number in self._acks)
            return self._acks.pop(number)

    def acknowledged(self, ack: Ack) -> None:
        with self._acked:
            self._acks[ack.number] = ack.ok
            self._acked.notify_all()

    def last_words(self) -> None:
        with self._lock:
            self._events.extend(self._limit.rest())

    def _run(self) -> None:
        beat_at = 0.0
        while True:
            now = time.monotonic()
            if now >= beat_at:
                beat_at = now + self._heartbeat_s
                with self._sending:
                    self._send(Beat(resident_bytes()))
            if self._some.wait(max(0.0, beat_at - time.monotonic())):
                self._some.clear()
                self.flush()
                time.sleep(FLUSH_S)


class InnerAttempt:
    """One order. turns: how the job takes its turn at the cores of the machine it is on, None where it need not."""

    def __init__(
        self, order: Start, send: Send, turns: Callable[[Job, Settings], Turns | None] = lambda _job, _settings: None
    ) -> None:
        self._order = order
        self._turns = turns
        self._reporter = Reporter(send, order.heartbeat_s)
        self._context: JobContext | None = None
        self._early: list[Wanted] = []
        self._lock = threading.Lock()

    def deliver(self, message: ToAttempt) -> None:
        """A message of the runner."""
        if isinstance(message, Ack):
            self._reporter.acknowledged(message)
        elif isinstance(message, Wanted):
            with self._lock:
                if self._context is None:
                    self._early.append(message)
                else:
                    self._context.want(message.what)

    @property
    def wanted(self) -> Why | None:
        return self._context.wanted if self._context is not None else None

    def run(self) -> bool:
        """True when the outcome is recorded, False when a newer attempt has taken over."""
        try:
            result = self._work()
            outcome: Callable[[int], Numbered] = lambda number: Result(number, result)  # noqa: E731
            encode(outcome(0))
        except BaseException as problem:  # noqa: BLE001 - whatever happened is told to the runner
            outcome = self._told(problem)
        if self._context is not None:
            self._context.rest()
        self._reporter.last_words()
        sys.stdout.flush()
        sys.stderr.flush()
        return self._reporter.commit(outcome)

    def _work(self) -> dict[str, Any]:
        order = self._order
        settings = Settings.model_validate(order.settings, by_name=True)
        if order.cores:
            settings = settings.model_copy(update={"num_threads": order.cores})
        context = JobContext(order.job, settings, self._reporter, self._turns(order.job, settings))
        with self._lock:
            self._context = context
            for message in self._early:
                context.want(message.what)
        importlib.import_module(order.module)
        kind = kinds.get(order.job.kind)
        try:
            params = kind.params.model_validate(order.job.params, by_alias=True, by_name=True)
        except ValidationError as problem:
            raise InvalidValue(
                f"The parameters do not suit this version of {order.job.kind!r}: {problem}", param="params"
            ) from None
        result = kind.run(params, context)
        check_json(result, "result")
        return result

    def _told(self, problem: BaseException) -> Callable[[int], Numbered]:
        wanted = self.wanted
        if isinstance(problem, Cancelled) and wanted is not None:
            return lambda number: Left(number, wanted)
        if isinstance(problem, MemoryError):
            traceback.clear_frames(problem.__traceback__)
            limit = self._order.job.resources.memory_bytes
            text = f"The job needed more than its limit of memory, {limit:,} bytes." if limit else "The machine has no memory left."
            return lambda number: Problem(
                number, "limit_exceeded", text, None, "Submit it with more memory, or with less to do.", False
            )
        again = may_pass(problem)
        if isinstance(problem, LLMOSError):
            code, param, retry_after_s = problem.code, problem.param, problem.retry_after_s
            text, hint = plain(problem.message), plain(problem.hint)
            return lambda number: Problem(number, code, text, param, hint, again, retry_after_s)
        lines = "".join(traceback.format_exception(problem))
        self._reporter.report(Event("log", {"level": "error", "text": lines[-MAX_LINE_CHARS:]}), None)
        said = plain(f"{type(problem).__name__}: {problem}", 2000)
        return lambda number: Problem(number, "crashed", said, None, "Its log has the traceback.", again)


def _bounded(event: Event) -> Event:
    if event.type == "log":
        return log_event(str(event.data["text"]), str(event.data["level"]))
    size = len(encode(News([event])))
    if size > MAX_EVENT_BYTES:
        raise InvalidValue(
            f"An event of type {event.type} has {size:,} bytes of JSON; {MAX_EVENT_BYTES:,} may be.",
            param=event.type,
            hint="Write it to a file in the job's folder and report that as an artefact.",
        )
    return event


def resident_bytes() -> int:
    """Physical memory of this process, 0 where /proc does not say."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - every few seconds, for the life of the job
            return int(file.read().split()[1]) * 4096
    except OSError:
        return 0
