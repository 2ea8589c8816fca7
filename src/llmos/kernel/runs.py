"""One attempt as its runner sees it: what it says goes into the store, in order, and is answered after the commit.

Nothing is lost when the database is away: a message leaves `news` only after its transaction. Whatever the store refuses because
a newer attempt has taken over (Fenced) ends the attempt here.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Literal

from llmos.errors import Fenced, NotFound, UsageError
from llmos.infra.logs import get_logger
from llmos.kernel.base import Job, JobError, JobProgress, JobState
from llmos.kernel.executors.base import Attempt
from llmos.kernel.messages import Ack, Beat, Checkpoint, Ended, Event, Left, News, Problem, Ready, Result, ToRunner, Wanted, Why
from llmos.kernel.policy import End
from llmos.kernel.store import JobStore

START_S = 60.0  # for the first word of an attempt; its lease counts from there
TERMINATE_AFTER_S = 5.0  # for an attempt that does not do what is wanted
KILL_AFTER_S = 10.0
MAX_EVENTS = 500  # in one transaction
_log = get_logger("kernel")


class Run:
    """Used by the runner's thread only. over: its outcome is recorded, or nothing of it counts any more; it only has to go."""

    def __init__(self, job: Job, attempt: Attempt, store: JobStore) -> None:
        self.job = job
        self.attempt = attempt
        self.memory_bytes = 0
        self.over = False
        self.gone = False
        self.beat_at = attempt.heard_at
        self._speaks = False
        self._began_at = time.monotonic()
        self.ending: tuple[Why | Literal["over"], float] | None = None  # what for, since when
        self._store = store
        self._news: deque[ToRunner] = deque()
        self._stage = 0

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def number(self) -> int:
        return self.job.attempt

    @property
    def starting(self) -> bool:
        """It has not said anything yet and need not have: on a busy machine a process takes its time to begin."""
        return not self._speaks and time.monotonic() - self._began_at < START_S

    def take(self) -> None:
        """Records what came. Raises what the database raises; the same call later goes on where it was."""
        self._news.extend(self.attempt.poll())
        self._speaks = self._speaks or bool(self._news)
        while self._news:
            if isinstance(self._news[0], News):
                self._record_news()
                continue
            self._record(self._news[0])
            self._news.popleft()

    def _record_news(self) -> None:
        events: list[Event] = []
        progress: JobProgress | None = None
        taken = 0
        for message in self._news:
            if not isinstance(message, News | Beat) or len(events) >= MAX_EVENTS:
                break
            if isinstance(message, News):
                events += message.events
                progress = message.progress or progress
            taken += 1
        if not self.over:
            try:
                self._store.record(self.id, self.number, events, progress=progress)
            except Fenced:
                self.fence()
        for _ in range(taken):
            self._news.popleft()

    def _record(self, message: ToRunner) -> None:
        match message:
            case Beat(memory_bytes=memory_bytes):
                self.memory_bytes = memory_bytes
            case Checkpoint(number=number, checkpoint=checkpoint):
                self._checkpoint(number, checkpoint)
            case Result(number=number, result=result):
                self._answer(number, self._finish(result))
            case Problem():
                self._answer(message.number, self.release(_end(message)))
            case Left(number=number, what=what):
                self._answer(number, self.release(End(how="left", why=_LEFT[what])))
            case Ended(how=how, blameless=blameless):
                self._end(how, blameless=blameless)
            case Ready() | News():
                pass

    def _checkpoint(self, number: int, checkpoint: dict[str, object]) -> None:
        ok = not self.over
        if ok:
            try:
                self._store.record(self.id, self.number, checkpoint=checkpoint)
            except Fenced:
                ok = False
                self.fence()
        self.attempt.send(Ack(number, ok))

    def _answer(self, number: int, recorded: bool) -> None:
        self.attempt.send(Ack(number, recorded))
        self.finish_off()

    def _finish(self, result: dict[str, object]) -> bool:
        try:
            self._store.finish(self.id, self.number, JobState.SUCCEEDED, result=result)
        except Fenced:
            return self._is_recorded()
        return True

    def release(self, end: End) -> bool:
        """Gives the job back, once. False when this attempt did not hold it any more."""
        if self.over:
            return False
        try:
            self._store.release(self.id, self.number, end)
        except Fenced:
            return self._is_recorded()
        return True

    def fail(self, error: JobError) -> None:
        """Ends the job from outside (a deadline) and the attempt with it."""
        if not self.over:
            try:
                self._store.finish(self.id, self.number, JobState.FAILED, error=error)
            except Fenced:
                self._is_recorded()
            self.fence()

    def _is_recorded(self) -> bool:
        """Whether an end of this very attempt is there: the commit came through, only its answer was lost."""
        try:
            job = self._store.get(self.id)
        except NotFound:
            return False
        return job.attempt == self.number and job.state is not JobState.RUNNING

    def _end(self, how: str, *, blameless: bool) -> None:
        if not self.over:
            if self.ending and self.ending[0] != "over":
                end = End(how="left", why=f"{_LEFT[self.ending[0]]} (it did not end by itself: {how})")
            else:
                end = End(how="gone" if blameless else "lost", why=f"attempt {self.number}: {how}")
            self.release(end)
        self.over = self.gone = True

    def lose(self, why: str) -> None:
        """It was not heard of for too long: the job goes on without it, and it is killed."""
        self.release(End(how="lost", why=f"attempt {self.number} {why}"))
        self.fence()

    # -- ending ------------------------------------------------------------------------------------------------------
    def want(self, what: Why) -> None:
        """Asks the attempt to end; `escalate` sees to it. Cancel wins over what was asked before, nothing else does."""
        if self.over or (self.ending and (self.ending[0] == what or what != "cancel")):
            return
        self.ending = (what, self.ending[1] if self.ending else time.monotonic())
        self.attempt.send(Wanted(what))

    def finish_off(self) -> None:
        """Its outcome is recorded: it has a little time to go by itself."""
        self.over = True
        self.ending, self._stage = ("over", time.monotonic()), 0

    def fence(self) -> None:
        """It holds the job no more: it must go at once."""
        self.over = True
        self.attempt.kill()

    def escalate(self) -> None:
        """SIGTERM, then SIGKILL, for one that should have ended."""
        if self.ending is None:
            return
        since_s = time.monotonic() - self.ending[1]
        if since_s >= KILL_AFTER_S:
            self.attempt.kill()
        elif since_s >= TERMINATE_AFTER_S and self._stage == 0:
            self._stage = 1
            self.attempt.terminate()

    def reject(self, problem: UsageError) -> None:
        """What it sent cannot be recorded (a bug of the kind): the job fails, the message is dropped."""
        _log.error("job %s: %s", self.id, problem)
        self._news.popleft()
        self.fail(JobError(code=problem.code, message=problem.message, param=problem.param, hint=problem.hint))


_LEFT: dict[Why, str] = {"cancel": "cancelled", "pause": "paused", "stop": "the service stops"}


def _end(problem: Problem) -> End:
    error = JobError(code=problem.code, message=problem.message, param=problem.param, hint=problem.hint)
    wait_s = problem.retry_after_s or 0.0
    return End(how="failed", why=f"failed: {problem.message}", error=error, again=problem.again, retry_after_s=wait_s)
