"""Jobs of this machine's database. When nobody runs jobs there, this process does, for as long as it is needed.

That is: from the first job that is submitted, resumed or followed here while no server runs jobs, until `close`. It runs those jobs
and what they depend on, no others. What runs at `close` goes back into the queue and goes on, from its last checkpoint, with the next
runner.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence

from llmos.access.service import record_local
from llmos.errors import DeadlineExceeded
from llmos.infra.database import Database
from llmos.kernel.base import Job, JobEvent, JobSpec, JobState
from llmos.kernel.jobs import Jobs
from llmos.sdk.base import EventRows, JobCalls, JobRows, Steering
from llmos.sdk.jobs import final_state
from llmos.settings import Settings

TICK_S = 0.05
BLIND_TICK_S = 0.5  # where the database has no version to look at
RUNNER_CHECK_S = 15.0  # how often who waits looks whether there is still a runner
PAGE = 500


class _Reading:
    """One `follow`: reads what is new, and knows whether more can come."""

    def __init__(self, jobs: Jobs, job_id: str, *, after: int, timeout_s: float | None, types: Sequence[str]) -> None:
        self._jobs, self._database, self._id = jobs, jobs.database, job_id
        self._after, self._types = after, frozenset(types)
        self._timeout_s, self._began = timeout_s, time.monotonic()
        self._version: int | None = None
        self._checked = float("-inf")
        self._caught_up = self.over = False

    def read(self) -> EventRows:
        self._version = self._database.version()
        state = self._jobs.get(self._id).state  # before the events: those that come between the two reads are then read too
        found = self._jobs.events(self._id, after=self._after, limit=PAGE)
        self._after = found[-1].seq if found else self._after
        self._caught_up = len(found) < PAGE
        self.over = self._caught_up and (state.final or any(final_state(event) for event in found))
        return [event for event in found if not self._types or event.type in self._types]

    @property
    def quiet(self) -> bool:
        """Whether there is nothing to read yet. Raises DeadlineExceeded when the time is over."""
        if self._timeout_s is not None and time.monotonic() - self._began >= self._timeout_s:
            raise DeadlineExceeded(f"Job {self._id} is not over after {self._timeout_s:g} s.", hint="It goes on.")
        return self._caught_up and self._version is not None and self._database.version() == self._version

    @property
    def check_due(self) -> bool:
        """Whether it is time to look for a runner."""
        now = time.monotonic()
        due = now - self._checked >= RUNNER_CHECK_S
        self._checked = now if due else self._checked
        return due

    @property
    def pause_s(self) -> float:
        if not self._caught_up:
            return 0.0
        return TICK_S if self._version is not None else BLIND_TICK_S


class LocalJobs(JobCalls):
    """run_here: whether this process may run jobs. notify: told when it does. The database is the caller's to close, after this."""

    def __init__(
        self, settings: Settings, database: Database, *, run_here: bool = True, notify: Callable[[str], None] = lambda _: None
    ) -> None:
        self.jobs = Jobs(settings, database)
        self._run_here, self._notify = run_here, notify
        self.runs_here = False  # whether this process has become a runner

    def submit(self, spec: JobSpec) -> Job:
        job = self.jobs.submit(spec)
        self._record("submit", job.id)
        self._ensure_runner(job)
        return job

    def get(self, job_id: str) -> Job:
        return self.jobs.get(job_id)

    def list(
        self, *, states: Sequence[JobState], kind: str | None, labels: Mapping[str, str], limit: int, before: str | None
    ) -> JobRows:
        return self.jobs.list(states=states, kind=kind, labels=labels, limit=limit, before=before)

    def steer(self, job_id: str, how: Steering) -> Job:
        job = {"cancel": self.jobs.cancel, "pause": self.jobs.pause, "resume": self.jobs.resume}[how](job_id)
        self._record(how, job_id)
        if how == "resume":
            self._ensure_runner(job)
        return job

    def remove(self, job_id: str) -> None:
        self.jobs.remove(job_id)
        self._record("remove", job_id)

    def events(self, job_id: str, *, after: int, limit: int) -> EventRows:
        return self.jobs.events(job_id, after=after, limit=limit)

    def follow(
        self, job_id: str, *, after: int, timeout_s: float | None = None, types: Sequence[str] = ()
    ) -> Generator[JobEvent, None, None]:
        reading = _Reading(self.jobs, job_id, after=after, timeout_s=timeout_s, types=types)
        while True:
            yield from reading.read()
            if reading.over:
                return
            while True:
                if reading.check_due:
                    self._ensure_runner(self.get(job_id))
                time.sleep(reading.pause_s)
                if not reading.quiet:
                    break

    async def afollow(
        self, job_id: str, *, after: int, timeout_s: float | None = None, types: Sequence[str] = ()
    ) -> AsyncGenerator[JobEvent, None]:
        reading = _Reading(self.jobs, job_id, after=after, timeout_s=timeout_s, types=types)
        while True:
            for event in await asyncio.to_thread(reading.read):
                yield event
            if reading.over:
                return
            while True:
                if reading.check_due:
                    await asyncio.to_thread(lambda: self._ensure_runner(self.get(job_id)))
                await asyncio.sleep(reading.pause_s)
                if not reading.quiet:
                    break

    def close(self) -> None:
        """Ends the runner of this process, if there is one; its jobs go back into the queue."""
        self._run_here = False
        self.jobs.close()

    def _record(self, what: str, job_id: str) -> None:
        """In the audit log, as the gate of a server would."""
        record_local(self.jobs.settings, self.jobs.database, f"jobs.{what}", job_id)

    def _ensure_runner(self, job: Job) -> None:
        if not self._run_here or job.state.final:
            return
        if self.jobs.ensure_runner(job.id) is not None and not self.runs_here:
            self.runs_here = True
            self._notify("No server runs jobs on this database: this process does, until it ends.")
