"""The step loop of a generating engine: admits waiting requests, reads their prompts, moves every running row on by one token.

One call of `step` is one round: ended requests leave, one piece of a waiting prompt is read, each cohort makes one forward pass.
So a cancelled request is gone within a round, and a long prompt holds nobody up for longer than one piece.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import TypeVar

from torch import Tensor

from llmos.engine.backends.transformers.cohort import Cohort, Started, Starter
from llmos.engine.backends.transformers.rows import Job, Row
from llmos.engine.base import Adapter, Request
from llmos.errors import DeadlineExceeded, EngineError, LLMOSError

T = TypeVar("T")
Activate = Callable[[Adapter | None], None]


class StepLoop:
    """Only `submit`, `running` and `requests` may be called from other threads."""

    def __init__(
        self,
        starter: Starter,
        make_rows: Callable[[Job], list[Row]],
        search: Callable[[Job], None],
        activate: Activate,
        *,
        max_rows: int,
        max_tokens: int | None,
    ) -> None:
        self._starter, self._make_rows, self._search, self._activate = starter, make_rows, search, activate
        self._max_rows, self._max_tokens = max_rows, max_tokens
        self._lock = threading.Lock()
        self._jobs: list[Job] = []  # all that have not ended, in order of arrival
        self._waiting: deque[Job] = deque()
        self._starting: tuple[Generator[None, None, Started], list[Row]] | None = None
        self._cohorts: list[Cohort] = []
        self._stopped = False

    def submit(self, job: Job) -> None:
        with self._lock:
            if self._stopped:
                job.cancel()
                return
            self._jobs.append(job)
            self._waiting.append(job)

    def running(self) -> int:
        with self._lock:
            return sum(not job.ended for job in self._jobs)

    def requests(self) -> list[Request]:
        with self._lock:
            return [job.handle.request for job in self._jobs if not job.ended]

    def stop(self) -> None:
        """Ends everything as cancelled, and what still comes."""
        with self._lock:
            self._stopped = True
            jobs = self._forget_all()
        for job in jobs:
            job.cancel()

    def step(self) -> bool:
        """One round; whether there is more to do."""
        try:
            self._round()
        except Exception as problem:  # noqa: BLE001 - what the guards below do not see (memory gone between passes) ends all requests
            with self._lock:
                jobs = self._forget_all()
            for job in jobs:
                job.fail(EngineError(f"The engine failed: {type(problem).__name__}: {problem}"))
        return bool(self._cohorts or self._starting or self._waiting)

    def _forget_all(self) -> list[Job]:
        jobs, self._jobs = self._jobs, []
        self._waiting.clear()
        self._cohorts, self._starting = [], None
        return jobs

    def _round(self) -> None:
        self._sweep()
        self._admit()
        self._start()
        for cohort in self._cohorts:
            self._advance(cohort)
        self._cohorts = [cohort for cohort in self._cohorts if cohort.rows]

    # -- one round ---------------------------------------------------------------------------------------------------
    def _sweep(self) -> None:
        """Ends what was cancelled or is late, forgets what has ended, frees their rows."""
        now = time.monotonic()
        with self._lock:
            jobs = list(self._jobs)
        for job in jobs:
            deadline = job.handle.request.deadline
            if job.handle.cancelled.is_set():
                job.cancel()
            elif deadline is not None and now > deadline:
                job.fail(DeadlineExceeded("The deadline of the request passed while it was running."))
        with self._lock:
            self._jobs = [job for job in self._jobs if not job.ended]
            self._waiting = deque(job for job in self._waiting if not job.ended)
        if self._starting and all(row.job.ended for row in self._starting[1]):
            self._starting = None
        for cohort in self._cohorts:
            self._keep(cohort, [index for index, row in enumerate(cohort.rows) if not row.job.ended])
        self._cohorts = [cohort for cohort in self._cohorts if cohort.rows]

    def _admit(self) -> None:
        """Takes the next waiting jobs that fit and may start together, unless others are just starting."""
        rows: list[Row] = []
        jobs: list[Job] = []
        while self._starting is None and self._waiting and self._fits(self._waiting[0], jobs):
            job = self._waiting.popleft()
            if job.handle.request.sampling.num_beams > 1:
                self._guard([job], lambda job=job: self._beams(job))  # type: ignore[misc]
                continue
            made = self._guard([job], lambda job=job: self._make_rows(job))  # type: ignore[misc]
            if made:
                jobs.append(job)
                rows += made
        if jobs:
            self._starting = (self._starter.start(jobs, rows), rows)

    def _fits(self, job: Job, chosen: list[Job]) -> bool:
        if chosen and (self._starter.key(job), job.adapter) != (self._starter.key(chosen[0]), chosen[0].adapter):
            return False
        others = [row.job for cohort in self._cohorts for row in cohort.rows] + [c for c in chosen for _ in c.open]
        rows = len(others) + job.num_rows
        longest = max(map(self._starter.num_tokens, {*others, job}))
        return rows <= self._max_rows and (self._max_tokens is None or rows * longest <= self._max_tokens)

    def _start(self) -> None:
        if self._starting is None:
            return
        reading, rows = self._starting
        started = self._guard([row.job for row in rows], lambda: self._read(reading, rows))
        if all(row.job.ended for row in rows):
            self._starting = None
        elif started is not None:
            self._starting = None
            cohort, logits = started
            self._take(cohort, logits)
            if cohort.rows and not any(running.absorb(cohort) for running in self._cohorts):
                self._cohorts.append(cohort)

    def _read(self, reading: Generator[None, None, Started], rows: list[Row]) -> Started | None:
        self._activate(rows[0].job.adapter)
        try:
            next(reading)
        except StopIteration as end:
            started: Started = end.value
            return started
        return None

    def _beams(self, job: Job) -> None:
        self._activate(job.adapter)
        self._search(job)

    def _advance(self, cohort: Cohort) -> None:
        def step() -> Tensor:
            self._activate(cohort.adapter)
            return cohort.step()

        logits = self._guard([row.job for row in cohort.rows], step)
        if logits is None:
            cohort.rows = []
        else:
            self._take(cohort, logits)

    def _take(self, cohort: Cohort, logits: Tensor) -> None:
        """Every row reads its logits; those that ended leave."""
        alive = []
        for index, row in enumerate(cohort.rows):
            if not row.job.ended and self._guard([row.job], lambda row=row, index=index: row.take(logits[index])):  # type: ignore[misc]
                alive.append(index)
        self._keep(cohort, alive)

    @staticmethod
    def _keep(cohort: Cohort, alive: list[int]) -> None:
        if not alive:
            cohort.rows = []
        elif len(alive) < len(cohort.rows):
            cohort.select(alive)

    @staticmethod
    def _guard(jobs: list[Job], work: Callable[[], T]) -> T | None:
        """None when it failed; the failure is then told to the jobs and to nobody else."""
        try:
            return work()
        except LLMOSError as problem:
            error = problem
        except Exception as problem:  # noqa: BLE001 - whatever torch raises ends these requests, never the loop
            error = EngineError(f"The model failed: {type(problem).__name__}: {problem}")
        for job in jobs:
            job.fail(error)
        return None
