"""Jobs as everybody above the kernel uses them: checked at the door, kept by the store, waited for and followed from any process.

    jobs = Jobs(settings, database)
    job = jobs.submit(JobSpec(kind="pull", params={"model": "qwen3-0.6b"}))
    for event in jobs.follow(job.id): ...
    job = jobs.wait(job.id)                     # raises JobFailed with the job's own message

In a server a Runner works off the queue. Where none lives on this database, `wait` and `follow` run the jobs of this process
themselves; `ensure_runner` does it without waiting.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ValidationError

from llmos.errors import DeadlineExceeded, InvalidValue, JobFailed, NotFound, did_you_mean
from llmos.infra.database import Database
from llmos.kernel.base import Job, JobEvent, JobKind, JobSpec, JobState, kinds
from llmos.kernel.context import job_folder
from llmos.kernel.folders import remove_folder
from llmos.kernel.presence import Presence
from llmos.kernel.runner import Runner
from llmos.kernel.store import JobStore, starts_over
from llmos.plugins import load_plugins
from llmos.settings import Settings

POLL_S = 0.02  # SQLite: asks for a counter in memory
POLL_SERVER_S = 0.25  # PostgreSQL: asks for rows
CHECK_S = 5.0  # between two looks whether somebody still runs the jobs
BELIEVED_S = 4.0
MAX_MINE = 1000

# `list` is a method below; inside the class its name means that.
JobList = list[Job]
Events = list[JobEvent]


class Jobs:
    """Thread-safe. runner: the server's own, woken at once by what is submitted here."""

    def __init__(self, settings: Settings, database: Database, *, runner: Runner | None = None) -> None:
        load_plugins()  # the kinds of the layers above
        self.settings = settings
        self.database = database
        self.store = JobStore(database)
        self.presence = Presence(database)
        self._runner = runner
        self._mine: set[str] = set()  # what the runner of this process may take, when it is not a server's
        self._served_until = 0.0  # a runner elsewhere was seen; it is believed until then
        self._lock = threading.Lock()
        self._own_runner = False

    def submit(self, spec: JobSpec) -> Job:
        """The queued job, or the one with this idempotency key. Raises NotFound (kind, with the nearest known one; dependency),
        InvalidValue naming the field as `params.<field>`, Conflict."""
        kind = kind_of(spec.kind)
        params = checked_params(kind.params, spec.params)
        filled = spec if spec.resources is not None else replace(spec, resources=kind.resources(params))
        job = self.store.submit(replace(filled, params=params.model_dump(mode="json", by_alias=True)))
        with self._lock:
            self._adopt(job)
        return self._woken(job)

    def get(self, job_id: str, *, project: str | None = None) -> Job:
        return self.store.get(job_id, project=project)

    def list(
        self,
        *,
        project: str | None = None,
        states: Collection[JobState] = (),
        kind: str | None = None,
        labels: Mapping[str, str] | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> JobList:
        return self.store.list(project=project, states=states, kind=kind, labels=labels, limit=limit, before=before)

    def events(self, job_id: str, *, after: int = 0, limit: int = 500, project: str | None = None) -> Events:
        return self.store.events(job_id, after=after, limit=limit, project=project)

    def cancel(self, job_id: str, *, actor: str = "", project: str | None = None) -> Job:
        return self._woken(self.store.cancel(job_id, actor=actor, project=project))

    def pause(self, job_id: str, *, actor: str = "", project: str | None = None) -> Job:
        """See JobStore.pause; `starts_over(job)` says whether the work of its attempt is lost by it."""
        return self._woken(self.store.pause(job_id, actor=actor, project=project))

    def resume(self, job_id: str, *, actor: str = "", project: str | None = None) -> Job:
        return self._woken(self.store.resume(job_id, actor=actor, project=project))

    def remove(self, job_id: str, *, project: str | None = None) -> None:
        """Forgets a finished job: its row, its events, its folder on this machine."""
        self.store.remove(job_id, project=project)
        remove_folder(job_folder(self.settings.home, job_id))

    def starts_over(self, job: Job) -> bool:
        """Whether pausing the job now loses what its attempt has done."""
        return job.state is JobState.RUNNING and starts_over(job.kind)

    def wait(self, job_id: str, *, timeout_s: float | None = None, project: str | None = None) -> Job:
        """The job once it has succeeded. Raises JobFailed with its error, DeadlineExceeded after timeout_s (the job goes on)."""
        self.get(job_id, project=project)  # unknown: say so before anything starts
        end = None if timeout_s is None else time.monotonic() + timeout_s
        for _ in self._changes(job_id, end):
            job = self.get(job_id, project=project)
            if job.state.final:
                return succeeded(job)
        raise DeadlineExceeded(f"Job {job_id} was still {job.state} after {timeout_s:g} s.", hint=f"See: llmos logs -f {job_id}")

    def follow(
        self, job_id: str, *, after: int = 0, project: str | None = None, timeout_s: float | None = None
    ) -> Iterator[JobEvent]:
        """Its events after number `after`, those to come as they come; ends with the job. timeout_s: gives up after that."""
        self.get(job_id, project=project)
        end = None if timeout_s is None else time.monotonic() + timeout_s
        for _ in self._changes(job_id, end):
            final = self.get(job_id, project=project).state.final  # read before the events: none can follow a final state
            while events := self.events(job_id, after=after, project=project):
                yield from events
                after = events[-1].seq
            if final:
                return
        raise DeadlineExceeded(f"Job {job_id} was not over after {timeout_s:g} s.", hint=f"See: llmos logs -f {job_id}")

    def runs_here(self) -> bool:
        """Whether a living runner, in this process or another, takes the jobs of this database."""
        return (self._runner is not None and not self._own_runner) or self._somebody_serves()

    def _somebody_serves(self) -> bool:
        if time.monotonic() < self._served_until:
            return True
        found = self.presence.somebody_serves()
        self._served_until = time.monotonic() + BELIEVED_S if found else 0.0
        return found

    def ensure_runner(self, *job_ids: str) -> Runner | None:
        """When no runner serves this database, starts one in this process for the jobs that were submitted through this object
        and those named, with all they depend on. None when another runs them."""
        with self._lock:
            if self._runner is None and not self._somebody_serves():
                self._runner = Runner(self.settings, self.database, only=self._mine)
                self._own_runner = True
                self._runner.start()
            for job_id in job_ids:
                self._adopt(self.store.get(job_id))
            return self._runner if self._own_runner else None

    def close(self, timeout_s: float = 5.0) -> None:
        """Ends the runner of this object, if it started one: its jobs save what they can within timeout_s and go back to the queue."""
        with self._lock:
            runner, self._runner = (self._runner if self._own_runner else None), None
            self._own_runner = False
        if runner is not None:
            runner.drain(timeout_s)

    def _adopt(self, job: Job) -> None:
        """The jobs that this process runs when nobody else does: this one and all it waits for."""
        if self._runner is not None and not self._own_runner:
            return
        if len(self._mine) >= MAX_MINE:
            self._mine.intersection_update(self.store.unfinished(self._mine))
        pending = [job.id, *job.waits_for]
        while pending:
            job_id = pending.pop()
            if job_id not in self._mine:
                self._mine.add(job_id)
                pending.extend(self.store.get(job_id).waits_for)
        self._wake()

    def _woken(self, job: Job) -> Job:
        self._wake()
        return job

    def _wake(self) -> None:
        if self._runner is not None:
            self._runner.wake()

    def _changes(self, job_id: str, end: float | None) -> Iterator[None]:
        """Once now, then after every change of the database, until `end`. Sees to it that somebody runs the job meanwhile."""
        seen: int | None = -1
        checked_at = -math.inf
        while True:
            if time.monotonic() - checked_at >= CHECK_S:
                self.ensure_runner(job_id)
                checked_at = time.monotonic()
            version = self.database.version()
            if version is None or version != seen:
                seen = version
                yield
            if end is not None and time.monotonic() >= end:
                return
            time.sleep(POLL_S if version is not None else POLL_SERVER_S)


def succeeded(job: Job) -> Job:
    """The job, when it is a success. Raises JobFailed with the error of one that failed or was cancelled."""
    if job.state is JobState.SUCCEEDED:
        return job
    error = job.error
    text = error.message if error else f"Job {job.id} was cancelled."
    code = error.code if error else str(job.state)
    raise JobFailed(text, job_id=job.id, job_code=code, param=error.param if error else None, hint=error.hint if error else "")


def kind_of(name: str) -> JobKind:
    """The kind of that name. Raises NotFound for the field `kind`, with the nearest known ones."""
    try:
        return kinds.get(name)
    except NotFound as unknown:
        unknown.param = "kind"
        raise


def checked_params(model: type[BaseModel], params: Mapping[str, Any]) -> BaseModel:
    """The parsed params. Raises InvalidValue for the first bad or unknown field: nothing is ignored."""
    known = {alias for name, field in model.model_fields.items() for alias in (name, field.alias) if alias}
    for name in params:
        if name not in known and model.model_config.get("extra") != "allow":
            raise InvalidValue(f"There is no parameter {name!r}.", param=f"params.{name}", hint=did_you_mean(name, sorted(known)))
    try:
        return model.model_validate(dict(params), by_alias=True, by_name=True)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        place = ".".join(["params", *map(str, first["loc"])])
        raise InvalidValue(f"{place}: {first['msg']}.", param=place) from None
