"""Rows of the job tables to records and back. JSON is ASCII text with sorted keys: one job, one text, on every database."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from llmos.errors import InvalidValue
from llmos.infra.tables import job_dependencies, job_events, jobs
from llmos.kernel.base import Job, JobError, JobEvent, JobProgress, JobState, Priority, Resources, Retry

_ids = threading.Lock()
_last_id = 0


def new_id() -> str:
    """Grows with time, and from call to call within this process."""
    global _last_id  # noqa: PLW0603 - one process, one sequence
    with _ids:
        _last_id = max(_last_id + 1, time.time_ns() // 1000)
        return f"job_{_last_id:014x}{os.urandom(6).hex()}"


def now() -> datetime:
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """UTC, 29 characters: texts compare as the times do."""
    return moment.isoformat(timespec="milliseconds")


def after(seconds: float) -> str:
    return iso(now() + timedelta(seconds=seconds))


def to_json(value: Any, field: str) -> str:
    """Raises InvalidValue naming the field."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as problem:
        raise InvalidValue(f"{field} must be JSON: {problem}.", param=field) from None


def record_json(record: Any) -> str:
    """A dataclass of plain values."""
    return json.dumps(asdict(record), sort_keys=True, separators=(",", ":"))


def as_job(row: Row[Any], needs: Sequence[str], waits_for: Sequence[str]) -> Job:
    fields = row._mapping
    return Job(
        id=fields["id"],
        kind=fields["kind"],
        params=json.loads(fields["params"]),
        project=fields["project"],
        submitted_by=fields["submitted_by"],
        priority=Priority(fields["priority"]),
        resources=Resources(**json.loads(fields["resources"])),
        depends_on=tuple(needs),
        waits_for=tuple(waits_for),
        idempotency_key=fields["idempotency_key"],
        retry=Retry(**json.loads(fields["retry"])),
        labels=json.loads(fields["labels"]),
        state=JobState(fields["state"]),
        wish=fields["wish"],
        attempt=fields["attempt"],
        failures=fields["failures"],
        lost=fields["lost"],
        runner=fields["runner"],
        beat=fields["beat"],
        progress=JobProgress(**json.loads(fields["progress"])),
        checkpoint=_optional(fields["checkpoint"]),
        result=_optional(fields["result"]),
        error=JobError(**json.loads(fields["error"])) if fields["error"] else None,
        created_at=fields["created_at"],
        not_before=fields["not_before"],
        deadline_at=fields["deadline_at"],
        started_at=fields["started_at"],
        finished_at=fields["finished_at"],
    )


def _optional(text: str | None) -> dict[str, Any] | None:
    return json.loads(text) if text is not None else None


def as_jobs(connection: Connection, rows: Sequence[Row[Any]]) -> list[Job]:
    """With their dependencies, in the order of the rows."""
    ids = [row.id for row in rows]
    needs: dict[str, list[str]] = {}
    unmet: dict[str, list[str]] = {}
    if ids:
        links = job_dependencies.c
        query = (
            sa.select(links.job_id, links.needs, jobs.c.state)
            .join(jobs, jobs.c.id == links.needs, isouter=True)
            .where(links.job_id.in_(ids))
            .order_by(links.needs)
        )
        for job_id, need, state in connection.execute(query):
            needs.setdefault(job_id, []).append(need)
            if state is not None and state != JobState.SUCCEEDED:
                unmet.setdefault(job_id, []).append(need)
    return [as_job(row, needs.get(row.id, ()), unmet.get(row.id, ())) for row in rows]


def as_event(row: Row[Any]) -> JobEvent:
    return JobEvent(job_id=row.job_id, seq=row.seq, attempt=row.attempt, at=row.at, type=row.type, data=json.loads(row.data))


def write_events(
    connection: Connection, job_id: str, attempt: int, last_seq: int, events: Iterable[tuple[str, Mapping[str, Any]]]
) -> None:
    """The events, numbered so that the last has `last_seq`: the number that the caller has just put into the job's row."""
    told = list(events)
    at = iso(now())
    rows = [
        {"job_id": job_id, "seq": seq, "attempt": attempt, "at": at, "type": type_, "data": to_json(dict(data), "data")}
        for seq, (type_, data) in enumerate(told, start=last_seq - len(told) + 1)
    ]
    if rows:
        connection.execute(sa.insert(job_events), rows)
