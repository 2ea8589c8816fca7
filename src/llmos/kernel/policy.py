"""What the runner decides, as pure functions over records: which job starts next, and what the end of an attempt means.

Order: priority class, where a job that has waited rises one class every AGEING_S; within a class the project with the fewest
running jobs, then the one that has started the fewest; then the older job. Cores and memory are kept for the first job in that
order that does not fit: no later job that wants any of it passes by, so nothing starves. Jobs without cores mostly wait (for a
network); NUM_LIGHT of them run beside whatever computes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from llmos.errors import EngineDied, LLMOSError, OverCapacity, RateLimited, SourceError, SourceStatus, StorageError
from llmos.kernel.base import JobError, JobState, Priority, Resources, Retry, Wish

AGEING_S = 600.0
NUM_LIGHT = 8
MAX_LOST = 3  # losses in a row, then dead letter
_RANK = {Priority.INTERACTIVE: 0, Priority.NORMAL: 1, Priority.BATCH: 2}
_PASSING_STATUS = (408, 425, 429)  # beside the 5xx: of a remote endpoint, these say "not now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A queued job whose dependencies are met and whose time has come. waited_s: since it was submitted or could be tried again."""

    id: str
    kind: str
    project: str
    priority: Priority
    resources: Resources
    waited_s: float

    @property
    def rank(self) -> int:
        """Its class after ageing: 0 goes first."""
        return max(0, _RANK[self.priority] - int(max(0.0, self.waited_s) / AGEING_S))


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What there is, and what is free of it now, cores, memory and accelerators. memory None: nobody counts it. light: jobs
    without cores that may still start."""

    cores: int
    free_cores: int
    memory_bytes: int | None = None
    free_memory_bytes: int | None = None
    accelerators: int = 0
    free_accelerators: int = 0
    light: int = NUM_LIGHT

    def asked(self, resources: Resources) -> Resources:
        """As many cores as there are will do for a job that asks for more."""
        return replace(resources, cores=min(resources.cores, self.cores))

    def fits(self, resources: Resources) -> bool:
        asked = self.asked(resources)
        if asked.cores == 0 and self.light <= 0:
            return False
        enough = asked.cores <= self.free_cores and asked.accelerators <= self.free_accelerators
        return enough and self._memory_fits(asked.memory_bytes)

    def _memory_fits(self, memory_bytes: int) -> bool:
        return memory_bytes == 0 or self.free_memory_bytes is None or memory_bytes <= self.free_memory_bytes

    def could_ever_fit(self, resources: Resources) -> bool:
        enough = self.memory_bytes is None or resources.memory_bytes <= self.memory_bytes
        return enough and resources.accelerators <= self.accelerators

    def without(self, resources: Resources) -> Machine:
        """After a job with these has started, or when they are kept for one."""
        asked = self.asked(resources)
        free = None if self.free_memory_bytes is None else max(0, self.free_memory_bytes - asked.memory_bytes)
        return replace(
            self,
            free_cores=max(0, self.free_cores - asked.cores),
            free_memory_bytes=free,
            free_accelerators=max(0, self.free_accelerators - asked.accelerators),
            light=self.light - (asked.cores == 0),
        )

    def keeping(self, resources: Resources) -> Machine:
        """For the jobs after one that does not fit: nothing of what that one waits for."""
        asked = self.asked(resources)
        return replace(
            self,
            free_cores=0 if asked.cores else self.free_cores,
            free_memory_bytes=0 if asked.memory_bytes and self.free_memory_bytes is not None else self.free_memory_bytes,
            free_accelerators=0 if asked.accelerators else self.free_accelerators,
        )


def order(waiting: Sequence[Waiting], running: Mapping[str, int], started: Mapping[str, int]) -> list[Waiting]:
    """Who goes first. running, started: jobs by project, now and since the runner began. The jobs of one project that are
    taken in this order count as running for those behind them, so that projects take turns."""
    left = sorted(waiting, key=lambda job: job.id)
    counts, turns = dict(running), dict(started)
    taken: list[Waiting] = []
    by_project: dict[tuple[int, str], list[Waiting]] = {}
    for job in reversed(left):
        by_project.setdefault((job.rank, job.project), []).append(job)
    while by_project:
        key = min(by_project, key=lambda key: (key[0], counts.get(key[1], 0), turns.get(key[1], 0), by_project[key][-1].id))
        job = by_project[key].pop()
        if not by_project[key]:
            del by_project[key]
        counts[job.project] = counts.get(job.project, 0) + 1
        turns[job.project] = turns.get(job.project, 0) + 1
        taken.append(job)
    return taken


def choose(
    waiting: Sequence[Waiting], machine: Machine, *, running: Mapping[str, int], started: Mapping[str, int]
) -> list[Waiting]:
    """The jobs to start now, in order. Together they fit the machine."""
    chosen: list[Waiting] = []
    for job in order(waiting, running, started):
        if not machine.could_ever_fit(job.resources):
            continue  # the runner says so to its owner
        if machine.fits(job.resources):
            chosen.append(job)
            machine = machine.without(job.resources)
        else:
            machine = machine.keeping(job.resources)
    return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How an attempt ended without a result.

    failed: it said why, `error`; again when the reason may pass.    left: it did what was wished, or the service stops.
    lost: it ended without a word under a runner that lives.          gone: what it ran on went away (runner, machine, node).
    """

    how: Literal["failed", "lost", "gone", "left"]
    why: str
    error: JobError | None = None
    again: bool = False
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of the job. wait_s: before its next attempt. failures, lost: the new counts."""

    state: JobState
    why: str
    failures: int
    lost: int
    wait_s: float = 0.0
    error: JobError | None = None


def settle(end: End, *, wish: Wish, retry: Retry, failures: int, lost: int) -> Verdict:
    """What the end of an attempt means for its job, given what its owner has wished meanwhile."""
    failures += end.how == "failed"
    lost = lost + 1 if end.how == "lost" else lost if end.how == "gone" else 0
    verdict = Verdict(state=JobState.QUEUED, why=end.why, failures=failures, lost=lost)
    if wish == "cancel":
        return replace(verdict, state=JobState.CANCELLED, error=JobError(code="cancelled", message="The job was cancelled."))
    if end.how == "failed" and (not end.again or failures >= retry.attempts):
        return replace(verdict, state=JobState.FAILED, error=end.error)
    if lost >= MAX_LOST:
        text = f"{lost} attempts in a row ended without a word; the last: {end.why}"
        hint = "See its log. Was it killed for its memory? Then submit it with more, or with less to do."
        return replace(verdict, state=JobState.FAILED, error=JobError(code="lost", message=text, hint=hint))
    if wish == "pause":
        return replace(verdict, state=JobState.PAUSED)
    if end.how == "failed":
        return replace(verdict, wait_s=max(retry.wait_s(failures), end.retry_after_s))
    return replace(verdict, wait_s=retry.wait_s(lost) if end.how == "lost" and lost > 1 else end.retry_after_s)


def may_pass(problem: BaseException) -> bool:
    """Whether another attempt makes sense: what is not ours is a crash; of ours, what the world outside may mend by itself."""
    if isinstance(problem, SourceStatus):
        return problem.status >= 500 or problem.status in _PASSING_STATUS
    if isinstance(problem, LLMOSError):
        return isinstance(problem, StorageError | OverCapacity | RateLimited | SourceError | EngineDied)
    return not isinstance(problem, MemoryError)
