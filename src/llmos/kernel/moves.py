"""How a job's row changes its state: the row, the event that says why, and what follows for the jobs that need it.

All functions work inside a transaction of the caller and on a row that it has locked. Rows are locked in the order of their ids
(a job is younger than what it needs), so that two transactions never wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from llmos.infra.tables import job_dependencies, jobs
from llmos.kernel.base import JobError, JobState, check_move
from llmos.kernel.rows import iso, now, record_json, write_events


def locked(connection: Connection, job_id: str) -> Row[Any] | None:
    """The job's row, this transaction's until its end."""
    return connection.execute(sa.select(jobs).where(jobs.c.id == job_id).with_for_update()).first()


def move(connection: Connection, row: Row[Any], state: JobState, why: str, *, error: JobError | None = None, **values: Any) -> None:
    """Puts the job of a locked row into `state`. values: further columns. An end that is not success ends all that need it."""
    ended = _move(connection, row, state, why=why, error=error, values=values)
    while ended:
        job_id, state = ended.pop()
        for dependant in _waiting_for(connection, job_id):
            what = "was cancelled" if state is JobState.CANCELLED else "failed"
            told = JobError(code="dependency_failed", message=f"Job {job_id}, which it depends on, {what}.")
            ended += _move(connection, dependant, JobState.FAILED, why=told.message, error=told, values={})


def _move(
    connection: Connection, row: Row[Any], state: JobState, *, why: str, error: JobError | None, values: dict[str, Any]
) -> list[tuple[str, JobState]]:
    """One job. Its id and state when those that need it can never run now."""
    check_move(row.id, JobState(row.state), state)
    told: dict[str, Any] = {"state": state.value, "why": why}
    if error is not None:
        told["error"] = {"code": error.code, "message": error.message}
        values["error"] = record_json(error)
    if state.final:
        values["finished_at"] = iso(now())
    if state is not JobState.RUNNING:
        values |= {"runner": "", "wish": ""}
    seq = row.last_seq + 1
    connection.execute(sa.update(jobs).where(jobs.c.id == row.id).values(state=state.value, last_seq=seq, **values))
    write_events(connection, row.id, values.get("attempt", row.attempt), seq, [("state", told)])
    return [(row.id, state)] if state in (JobState.FAILED, JobState.CANCELLED) else []


def note(connection: Connection, row: Row[Any], *, wish: str, why: str) -> None:
    """Puts a wish on the job of a locked row, with its event; the state stays."""
    seq = row.last_seq + 1
    connection.execute(sa.update(jobs).where(jobs.c.id == row.id).values(wish=wish, last_seq=seq))
    write_events(connection, row.id, row.attempt, seq, [("state", {"state": row.state, "why": why})])


def _waiting_for(connection: Connection, job_id: str) -> Sequence[Row[Any]]:
    """Jobs that need this one and are not over, locked. None of them runs: what it needs had not succeeded."""
    links = job_dependencies.c
    needing = sa.select(links.job_id).where(links.needs == job_id)
    waiting = jobs.c.state.in_((JobState.QUEUED.value, JobState.PAUSED.value))
    return connection.execute(sa.select(jobs).where(jobs.c.id.in_(needing), waiting).order_by(jobs.c.id).with_for_update()).all()
