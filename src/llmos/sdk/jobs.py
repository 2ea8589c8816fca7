"""Jobs from Python: work that is longer than a call, kept in the database, run by a service or by this process.

    job = llmos.jobs.submit("pull", {"model": "smollm2-135m-instruct"})
    for event in job.events(): ...        # as they come, until it is over
    card = job.wait()                     # its result, or JobFailed

A handle is a view: the job is in the database, and goes on when the handle, or the whole process, is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Self, TypeVar

from llmos.errors import InvalidValue, did_you_mean
from llmos.kernel.base import Job, JobError, JobEvent, JobProgress, JobSpec, JobState, Priority, Resources, Retry
from llmos.kernel.jobs import succeeded
from llmos.sdk.base import JobCalls

OnEvent = Callable[[JobEvent], None]
MAX_LIST = 200
Choice = TypeVar("Choice", bound=StrEnum)
States = JobState | str | Sequence[JobState | str]


def one_of(choices: type[Choice], value: str, param: str) -> Choice:
    """The member of that name. Raises InvalidValue with the known ones."""
    known = [str(choice) for choice in choices]
    if value not in known:
        raise InvalidValue(f"{param} is {value!r}.", param=param, hint=did_you_mean(value, known))
    return choices(value)


def final_state(event: JobEvent) -> JobState | None:
    """The state that ended the job, when this event says so."""
    if event.type != "state":
        return None
    state = JobState(event.data["state"])
    return state if state.final else None


def outcome(job: Job) -> dict[str, Any]:
    """The result of a job that is over. Raises JobFailed when it did not succeed."""
    return succeeded(job).result or {}


def make_spec(
    kind: str,
    params: Mapping[str, Any] | None,
    *,
    priority: str,
    depends_on: Sequence[Any],
    idempotency_key: str | None,
    deadline_s: float | None,
    resources: Resources | None,
    retry: Retry | None,
    labels: Mapping[str, str] | None,
) -> JobSpec:
    """depends_on: ids, or handles."""
    return JobSpec(
        kind=kind,
        params=dict(params or {}),
        priority=one_of(Priority, priority, "priority"),
        resources=resources,
        depends_on=tuple(str(getattr(job, "id", job)) for job in depends_on),
        idempotency_key=idempotency_key,
        deadline_s=deadline_s,
        retry=retry or Retry(),
        labels=dict(labels or {}),
    )


class JobView:
    """What a job is, as it was when last looked at (`record`, `refresh`)."""

    def __init__(self, calls: JobCalls, record: Job) -> None:
        self._calls = calls
        self.record = record

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r}, {self.kind!r}, {self.state})"

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def kind(self) -> str:
        return self.record.kind

    @property
    def state(self) -> JobState:
        return self.record.state

    @property
    def progress(self) -> JobProgress:
        return self.record.progress

    @property
    def labels(self) -> dict[str, str]:
        return self.record.labels

    @property
    def result(self) -> dict[str, Any] | None:
        """None until it has succeeded."""
        return self.record.result

    @property
    def error(self) -> JobError | None:
        """None unless it has failed."""
        return self.record.error


class JobHandle(JobView):
    """One job. Methods that change it return the handle with the new state."""

    def refresh(self) -> Self:
        """Looks again."""
        self.record = self._calls.get(self.id)
        return self

    def events(self, after: int = 0) -> Iterator[JobEvent]:
        """What happened to it and what happens, in order, from event number `after` + 1 on, until it is over."""
        return self._calls.follow(self.id, after=after)

    def __iter__(self) -> Iterator[JobEvent]:
        return self.events()

    def wait(self, timeout_s: float | None = None, on_event: OnEvent | None = None) -> dict[str, Any]:
        """Its result, once it is over. on_event: called with every event from the first on. A paused job is waited for too.

        Raises JobFailed when it failed or was cancelled, DeadlineExceeded after timeout_s (the job goes on).
        """
        types = () if on_event is not None else ("state",)
        for event in self._calls.follow(self.id, after=0, timeout_s=timeout_s, types=types):
            if on_event is not None:
                on_event(event)
        return outcome(self.refresh().record)

    def cancel(self) -> Self:
        """Ends it: at once when it waits, at its next step when it runs. Raises Conflict when it is over."""
        self.record = self._calls.steer(self.id, "cancel")
        return self

    def pause(self) -> Self:
        """Stops it until `resume`: at once when it waits, at its next step when it runs."""
        self.record = self._calls.steer(self.id, "pause")
        return self

    def resume(self) -> Self:
        """Puts a paused job back into the queue; it goes on from its last checkpoint."""
        self.record = self._calls.steer(self.id, "resume")
        return self

    def remove(self) -> None:
        """Forgets it, with its events. Raises Conflict while it is not over."""
        self._calls.remove(self.id)


Handles = list[JobHandle]  # `list` is a method below


class Jobs:
    """`llmos.jobs`: submit, list, get."""

    def __init__(self, calls: JobCalls) -> None:
        self._calls = calls

    def submit(
        self,
        kind: str,
        params: Mapping[str, Any] | None = None,
        *,
        priority: str = "normal",
        depends_on: Sequence[JobView | str] = (),
        idempotency_key: str | None = None,
        deadline_s: float | None = None,
        resources: Resources | None = None,
        retry: Retry | None = None,
        labels: Mapping[str, str] | None = None,
        wait: bool = False,
    ) -> JobHandle:
        """A new job, on disk when this returns. wait: return when it has succeeded, raise as `JobHandle.wait` does.

        priority: "interactive", "normal" or "batch"; on a server normal means what the key allows, when that is less.
        idempotency_key: submitting again with the same key gives the job that is there. deadline_s: it fails when it is not
        over so many seconds from now. depends_on: jobs that must have succeeded before. Raises NotFound for an unknown kind,
        InvalidValue naming the parameter that is wrong, Conflict for a key that was used for something else.
        """
        spec = make_spec(
            kind,
            params,
            priority=priority,
            depends_on=depends_on,
            idempotency_key=idempotency_key,
            deadline_s=deadline_s,
            resources=resources,
            retry=retry,
            labels=labels,
        )
        handle = JobHandle(self._calls, self._calls.submit(spec))
        if wait:
            handle.wait()
        return handle

    def list(
        self,
        *,
        state: States = (),
        kind: str | None = None,
        labels: Mapping[str, str] | None = None,
        limit: int = 50,
        before: JobView | str | None = None,
    ) -> Handles:
        """The newest first, 200 at most. state: one or several; labels: all of them must fit; before: a job, for the page
        after it."""
        return [
            JobHandle(self._calls, job)
            for job in rows(self._calls, state=state, kind=kind, labels=labels, limit=limit, before=before)
        ]

    def get(self, job_id: str) -> JobHandle:
        return JobHandle(self._calls, self._calls.get(job_id))


def rows(
    calls: JobCalls,
    *,
    state: States,
    kind: str | None,
    labels: Mapping[str, str] | None,
    limit: int,
    before: JobView | str | None,
) -> list[Job]:
    """`Jobs.list` as records."""
    if not 1 <= limit <= MAX_LIST:
        raise InvalidValue(f"limit is {limit}; 1 to {MAX_LIST} are possible.", param="limit")
    states = (state,) if isinstance(state, str) else tuple(state)
    last = before if isinstance(before, str) or before is None else before.id
    return calls.list(
        states=[one_of(JobState, one, "state") for one in states], kind=kind, labels=labels or {}, limit=limit, before=last
    )
