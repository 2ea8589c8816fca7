"""The contract of the kernel: what a job is, the states it can be in, and what a kind of job must offer.

    submit -> queued -> running -> succeeded | failed | cancelled
                 ^         |
                 |         +-> queued   its lease ran out, its attempt failed and may be tried again, or the service stops
                 +- paused <-+           asked for; from queued at once, from running at the next step boundary

A job is a row; what is not in the row is lost with a kill, what is in it never is. Every attempt has a number, its fencing
token: it grows with each attempt, and whatever an older attempt wants to record is refused. So an attempt may run more than
once (at-least-once execution), and its outcome is recorded once.

Everything here is plain data and pure functions; store.py keeps it, runner.py runs it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel

from llmos.errors import Conflict
from llmos.registry import Registry

if TYPE_CHECKING:
    from llmos.kernel.context import JobContext

LEASE_S = 30.0
HEARTBEAT_S = 10.0
MAX_ATTEMPTS = 3
DEFAULT_PROJECT = "default"  # of whoever needs no key


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class Priority(StrEnum):
    """Who goes first. Interactive: somebody waits for it. Batch soaks what the others leave."""

    INTERACTIVE = "interactive"
    NORMAL = "normal"
    BATCH = "batch"


Wish = Literal["", "cancel", "pause"]  # what a user asked of a running job, until its attempt has done it

# Which state may follow which. Everything that writes a state asks `check_move` first.
MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.PAUSED, JobState.CANCELLED, JobState.FAILED}),
    JobState.RUNNING: frozenset(JobState) - {JobState.RUNNING},
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.CANCELLED, JobState.FAILED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}


def check_move(job_id: str, before: JobState, after: JobState) -> None:
    """Raises Conflict when a job in state `before` cannot become `after`."""
    if after not in MOVES[before]:
        raise Conflict(f"Job {job_id} is {before}; it cannot become {after}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a job asks of its machine while it runs. cores: threads it computes with; 0 is a job that mostly waits (a download).
    memory_bytes, disk_bytes: the most it holds; its child process is limited to that memory when it is not 0."""

    cores: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    accelerators: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """attempts: how often a job is tried in all when its attempt fails for a reason that may pass (a dead process, a network, a
    full disk); errors of the user's own are never tried again. The n-th wait is backoff_s * 2**(n-1), max_backoff_s at most.
    A lease that ran out or a service that stops does not use up an attempt's chance: see `lost` in policy.py."""

    attempts: int = MAX_ATTEMPTS
    backoff_s: float = 1.0
    max_backoff_s: float = 300.0

    def wait_s(self, failures: int) -> float:
        """Before the attempt that follows `failures` failed ones."""
        return min(self.backoff_s * 2.0 ** max(0, failures - 1), self.max_backoff_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """How far the running attempt is. total None: not known. eta_s: from the pace so far, None until there is one."""

    done: float = 0.0
    total: float | None = None
    unit: str = ""
    message: str = ""
    eta_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError:
    """Why it failed: the class of errors.py, its message and hint, as the user reads them."""

    code: str
    message: str
    param: str | None = None
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """A job as it is submitted. params: JSON of the kind's parameters, checked by it.

    idempotency_key: submitting again with the same key and project gives the job that is there, and raises Conflict when kind or
    params differ. deadline_s: after that many seconds from now the job fails with deadline_exceeded wherever it is.
    depends_on: ids of jobs that must have succeeded before; when one fails or is cancelled, this one fails.
    """

    kind: str
    params: dict[str, Any] = field(default_factory=dict)
    project: str = DEFAULT_PROJECT
    submitted_by: str = ""  # id of a key; "" for the local user
    priority: Priority = Priority.NORMAL
    resources: Resources | None = None  # None: what the kind says for these params
    depends_on: tuple[str, ...] = ()
    idempotency_key: str | None = None
    deadline_s: float | None = None
    retry: Retry = field(default_factory=Retry)
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The row. Times are UTC in ISO 8601 for people; no decision about leases is taken from them.

    attempt: the fencing token of the newest attempt, 0 before the first. failures: attempts that failed by themselves.
    lost: attempts that ended without a word (killed, lease over). runner: who holds the lease, "" when nobody.
    beat: grows with every heartbeat; who watches a lease measures with its own monotonic clock how long it stood still.
    checkpoint: what the newest attempt saved to go on from, None when nothing. waits_for: ids of unfinished dependencies.
    """

    id: str
    kind: str
    params: dict[str, Any]
    project: str
    submitted_by: str
    priority: Priority
    resources: Resources
    depends_on: tuple[str, ...]
    waits_for: tuple[str, ...]
    idempotency_key: str | None
    retry: Retry
    labels: dict[str, str]
    state: JobState
    wish: Wish
    attempt: int
    failures: int
    lost: int
    runner: str
    beat: int
    progress: JobProgress
    checkpoint: dict[str, Any] | None
    result: dict[str, Any] | None
    error: JobError | None
    created_at: str
    not_before: str | None
    deadline_at: str | None
    started_at: str | None
    finished_at: str | None


EventType = Literal["state", "progress", "metric", "log", "artefact", "checkpoint", "yield"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """One line of a job's history. seq: 1, 2, … within the job, without gaps. data by type:

    state       {"state", "why"}                 artefact    {"name", "path" | "file_id" | …}
    progress    the fields of JobProgress        checkpoint  {"checkpoint": …}
    metric      {"name", "value", "step"}        yield       {"waited_s", "why"}: it stood back for serving
    log         {"level", "text"}
    """

    job_id: str
    seq: int
    attempt: int
    at: str
    type: EventType
    data: dict[str, Any]


class JobKind(ABC):
    """One kind of job. Registered by the layers above and by plugins: `@kinds.register("batch")`. It runs in a child process,
    so everything it needs must follow from `params`, the settings and the job's folder."""

    params: ClassVar[type[BaseModel]]
    checkpoints: ClassVar[bool] = False  # whether `run` saves checkpoints and goes on from `context.checkpoint`
    scope: ClassVar[str] = "jobs"  # what a key needs to submit it (Scope in access/base.py)

    def resources(self, params: Any) -> Resources:
        """What a job with these (parsed) params asks for when its submitter does not say."""
        return Resources()

    def check_remote(self, params: Any) -> None:  # noqa: B027 - most kinds have nothing to refuse
        """For (parsed) params that come over the network: raises InvalidValue when they would read this machine's disk or do
        something else that is for its own user only."""

    @abstractmethod
    def run(self, params: Any, context: JobContext) -> dict[str, Any]:
        """Does the work of one attempt and returns the result (JSON). Calls `context.step()` at every point where it may be
        interrupted: that raises Cancelled or Paused, and waits while interactive serving needs the machine. Whatever it
        writes outside of its folder must be safe to write twice. Raises LLMOSError for the user; anything else counts as a
        crash and is tried again."""


kinds: Registry[JobKind] = Registry("job kind")
