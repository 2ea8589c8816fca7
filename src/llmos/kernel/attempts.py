"""The store's side for runners: take a job, keep it, record what comes of it, give it back. Every write of an attempt holds its
number, the fencing token: when a newer attempt has taken over, or the job is over, it raises Fenced and changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from llmos.errors import Fenced
from llmos.infra.database import Database
from llmos.infra.tables import job_dependencies, jobs
from llmos.kernel.base import Job, JobError, JobProgress, JobState, Priority, Resources, Retry
from llmos.kernel.messages import Event
from llmos.kernel.moves import locked, move
from llmos.kernel.policy import End, Waiting, settle
from llmos.kernel.rows import after, as_jobs, iso, now, record_json, to_json, write_events

READY_PER_PROJECT = 32  # of each priority class: enough for a fair choice, however long the queue is


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A running job, as runners watch it."""

    id: str
    kind: str
    attempt: int
    runner: str
    wish: str
    beat: int
    overdue: bool  # its deadline has passed


class AttemptStore:
    """The part of JobStore that runners use."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def ready(self, *, kinds: Collection[str] | None = None, only: Collection[str] | None = None) -> list[Waiting]:
        """Queued jobs that could start now: their dependencies have succeeded, their time has come. The oldest of each project
        and class. kinds, only: no others than of these kinds, with these ids."""
        moment = now()
        place = sa.func.row_number().over(partition_by=(jobs.c.project, jobs.c.priority), order_by=jobs.c.id).label("place")
        columns = (jobs.c.id, jobs.c.kind, jobs.c.project, jobs.c.priority, jobs.c.resources, jobs.c.created_at, jobs.c.not_before)
        due = sa.or_(jobs.c.not_before.is_(None), jobs.c.not_before <= iso(moment))
        query = sa.select(*columns, place).where(jobs.c.state == JobState.QUEUED.value, due, ~_unmet())
        if kinds is not None:
            query = query.where(jobs.c.kind.in_(list(kinds)))
        if only is not None:
            query = query.where(jobs.c.id.in_(list(only)))
        inner = query.subquery()
        with self.database.begin(read_only=True) as connection:
            rows = connection.execute(sa.select(inner).where(inner.c.place <= READY_PER_PROJECT)).all()
        return [_waiting(row, moment) for row in rows]

    def claim(self, job_id: str, runner: str) -> Job | None:
        """Makes it running, with a new attempt of that runner. None when it is not queued any more: another was quicker."""
        with self.database.begin() as connection:
            row = connection.execute(
                sa.select(jobs).where(jobs.c.id == job_id, jobs.c.state == JobState.QUEUED.value).with_for_update(skip_locked=True)
            ).first()
            if row is None:
                return None
            attempt = row.attempt + 1
            moved: dict[str, Any] = {"attempt": attempt, "runner": runner, "beat": row.beat + 1, "not_before": None}
            moved["started_at"] = row.started_at or iso(now())
            move(connection, row, JobState.RUNNING, f"attempt {attempt} starts", **moved)
            return as_jobs(connection, [_row(connection, job_id)])[0]

    def beat(self, held: Iterable[tuple[str, int]]) -> None:
        """Keeps the leases of these attempts (id, attempt). One that is fenced is left alone: its next write says so."""
        with self.database.begin(durable=False) as connection:
            for job_id, attempt in sorted(held):
                connection.execute(sa.update(jobs).where(*_running(job_id, attempt)).values(beat=jobs.c.beat + 1))

    def record(
        self,
        job_id: str,
        attempt: int,
        events: Sequence[Event] = (),
        *,
        progress: JobProgress | None = None,
        checkpoint: dict[str, Any] | None = None,
    ) -> None:
        """What the attempt reports. It counts as a heartbeat; a checkpoint ends a row of losses. A checkpoint is on disk when this
        returns, the rest no later than the next change of a state. Raises Fenced."""
        told: list[tuple[str, Any]] = [(event.type, event.data) for event in events]
        values: dict[str, Any] = {"beat": jobs.c.beat + 1}
        if progress is not None:
            values["progress"] = record_json(progress)
        if checkpoint is not None:
            values |= {"checkpoint": to_json(checkpoint, "checkpoint"), "lost": 0}
            told.append(("checkpoint", {"checkpoint": checkpoint}))
        with self.database.begin(durable=checkpoint is not None) as connection:
            update = sa.update(jobs).where(*_running(job_id, attempt)).values(last_seq=jobs.c.last_seq + len(told), **values)
            seq = connection.execute(update.returning(jobs.c.last_seq)).scalar()
            if seq is None:
                raise _fenced(job_id, attempt)
            write_events(connection, job_id, attempt, seq, told)

    def finish(
        self,
        job_id: str,
        attempt: int,
        state: JobState,
        *,
        result: dict[str, Any] | None = None,
        error: JobError | None = None,
        why: str = "",
    ) -> None:
        """Records the outcome, once for all. Raises Fenced."""
        values = {"result": to_json(result, "result")} if result is not None else {}
        with self.database.begin() as connection:
            row = _own(connection, job_id, attempt)
            move(connection, row, state, why or (error.message if error else f"attempt {attempt} is done"), error=error, **values)

    def release(self, job_id: str, attempt: int, end: End) -> JobState:
        """Gives back a job whose attempt ended without a result; policy.settle says what becomes of it. Raises Fenced."""
        with self.database.begin() as connection:
            row = _own(connection, job_id, attempt)
            retry = Retry(**json.loads(row.retry))
            verdict = settle(end, wish=row.wish, retry=retry, failures=row.failures, lost=row.lost)
            counts = {"failures": verdict.failures, "lost": verdict.lost}
            not_before = after(verdict.wait_s) if verdict.wait_s > 0 else None
            wait = f"; tried again in {verdict.wait_s:g} s" if not_before else ""
            move(connection, row, verdict.state, verdict.why + wait, error=verdict.error, not_before=not_before, **counts)
            return verdict.state

    def held(self) -> list[Held]:
        """All jobs that run now, whoever runs them."""
        columns = (jobs.c.id, jobs.c.kind, jobs.c.attempt, jobs.c.runner, jobs.c.wish, jobs.c.beat, jobs.c.deadline_at)
        moment = iso(now())
        with self.database.begin(read_only=True) as connection:
            rows = connection.execute(sa.select(*columns).where(jobs.c.state == JobState.RUNNING.value)).all()
        return [
            Held(
                id=row.id,
                kind=row.kind,
                attempt=row.attempt,
                runner=row.runner,
                wish=row.wish,
                beat=row.beat,
                overdue=row.deadline_at is not None and row.deadline_at <= moment,
            )
            for row in rows
        ]

    def expire(self) -> list[str]:
        """Fails queued and paused jobs whose deadline has passed. Their ids."""
        waiting = (JobState.QUEUED.value, JobState.PAUSED.value)
        late = (
            sa.select(jobs.c.id).where(jobs.c.state.in_(waiting), jobs.c.deadline_at <= iso(now())).order_by(jobs.c.id).limit(500)
        )
        with self.database.begin(read_only=True) as connection:
            ids = list(connection.execute(late).scalars())
        for job_id in ids:
            with self.database.begin() as connection:
                row = locked(connection, job_id)
                if row is not None and row.state in waiting:
                    move(connection, row, JobState.FAILED, "its deadline has passed", error=overdue(f"while it was {row.state}"))
        return ids

    def refuse(self, job_id: str, error: JobError) -> None:
        """Fails a queued job that can never run; nothing when it is not queued any more."""
        with self.database.begin() as connection:
            row = locked(connection, job_id)
            if row is not None and row.state == JobState.QUEUED:
                move(connection, row, JobState.FAILED, error.message, error=error)


def overdue(when: str) -> JobError:
    return JobError(code="deadline_exceeded", message=f"The job's deadline passed {when}.", hint="Submit it with a later one.")


def _unmet() -> sa.Exists:
    """Whether a dependency has not succeeded yet."""
    needed = jobs.alias("needed")
    links = job_dependencies.c
    inner = sa.select(sa.literal(1)).select_from(job_dependencies.join(needed, needed.c.id == links.needs))
    return inner.where(links.job_id == jobs.c.id, needed.c.state != JobState.SUCCEEDED.value).exists()


def _waiting(row: Row[Any], moment: datetime) -> Waiting:
    since = max(row.created_at, row.not_before or "")
    return Waiting(
        id=row.id,
        kind=row.kind,
        project=row.project,
        priority=Priority(row.priority),
        resources=Resources(**json.loads(row.resources)),
        waited_s=(moment - datetime.fromisoformat(since)).total_seconds(),
    )


def _running(job_id: str, attempt: int) -> tuple[sa.ColumnElement[bool], ...]:
    return jobs.c.id == job_id, jobs.c.attempt == attempt, jobs.c.state == JobState.RUNNING.value


def _row(connection: Connection, job_id: str) -> Row[Any]:
    return connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).one()


def _own(connection: Connection, job_id: str, attempt: int) -> Row[Any]:
    row = connection.execute(sa.select(jobs).where(*_running(job_id, attempt)).with_for_update()).first()
    if row is None:
        raise _fenced(job_id, attempt)
    return row


def _fenced(job_id: str, attempt: int) -> Fenced:
    return Fenced(f"Attempt {attempt} of job {job_id} does not hold it any more; what it did is not recorded.")
