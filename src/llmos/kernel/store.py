"""The one place where jobs are kept: submitted, looked up, cancelled, paused, resumed, removed. Runners' side: attempts.py.

Everything that belongs to a change (the row and the event that says why) is one transaction: it is on disk when the call
returns, or it has not happened. A job of another project is NotFound, as if it did not exist.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row
from sqlalchemy.exc import IntegrityError

from llmos.errors import Conflict, InvalidValue, NotFound
from llmos.infra.tables import job_dependencies, job_events, jobs
from llmos.kernel.attempts import AttemptStore
from llmos.kernel.base import Job, JobEvent, JobProgress, JobSpec, JobState, Resources, check_move, kinds
from llmos.kernel.moves import locked, move, note
from llmos.kernel.rows import after, as_event, as_jobs, iso, new_id, now, record_json, to_json, write_events

MAX_PARAMS_BYTES = 1 << 20
MAX_LABELS = 64
MAX_LABEL_CHARS = 256
MAX_DEPENDENCIES = 64
MAX_LIST = 500
MAX_EVENTS = 1000
MAX_DEADLINE_S = 366 * 86400.0
UNFINISHED = (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED)

# `list` is a method below; inside the class its name means that.
JobList = list[Job]
Events = list[JobEvent]


class JobStore(AttemptStore):
    """Thread-safe; several processes, and with PostgreSQL several machines, may use one database."""

    def submit(self, spec: JobSpec) -> Job:
        """The queued job; with a known idempotency key of this project the one that is there. Its params, resources and kind
        are taken as they are (jobs.py checks them). Raises InvalidValue, NotFound and Conflict (dependencies; the key belongs
        to another job)."""
        row = _checked(spec)
        try:
            with self.database.begin() as connection:
                return self._known(connection, spec, row) or self._insert(connection, spec, row)
        except IntegrityError:  # another submitter of the same key was quicker
            with self.database.begin(read_only=True) as connection:
                known = self._known(connection, spec, row)
            if known is None:
                raise
            return known

    def get(self, job_id: str, *, project: str | None = None) -> Job:
        """Raises NotFound; so do all methods with an id."""
        with self.database.begin(read_only=True) as connection:
            return _read(connection, job_id, project)

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
        """Newest first, `limit` (500 at most) of them. states (): all. before: an id; older ones than that, for the next page."""
        query = sa.select(jobs).order_by(jobs.c.id.desc()).limit(_limit(limit, MAX_LIST))
        if project is not None:
            query = query.where(jobs.c.project == project)
        if states:
            query = query.where(jobs.c.state.in_([JobState(state).value for state in states]))
        if kind is not None:
            query = query.where(jobs.c.kind == kind)
        for name, value in (labels or {}).items():
            text = to_json({name: value}, "labels")[1:-1]  # as it stands in the canonical JSON of all labels
            query = query.where(sa.func.replace(jobs.c.labels, text, "") != jobs.c.labels)
        if before is not None:
            query = query.where(jobs.c.id < before)
        with self.database.begin(read_only=True) as connection:
            return as_jobs(connection, connection.execute(query).all())

    def count_unfinished(self, *, project: str | None = None, submitted_by: str | None = None) -> int:
        query = sa.select(sa.func.count()).select_from(jobs).where(jobs.c.state.in_([state.value for state in UNFINISHED]))
        if project is not None:
            query = query.where(jobs.c.project == project)
        if submitted_by is not None:
            query = query.where(jobs.c.submitted_by == submitted_by)
        with self.database.begin(read_only=True) as connection:
            return int(connection.execute(query).scalar_one())

    def counts(self, *, project: str | None = None) -> dict[str, int]:
        """How many jobs are in each state; states without any are left out."""
        query = sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state)
        if project is not None:
            query = query.where(jobs.c.project == project)
        with self.database.begin(read_only=True) as connection:
            return {str(state): int(number) for state, number in connection.execute(query)}

    def unfinished(self, job_ids: Collection[str]) -> set[str]:
        """Those of the jobs that are not over."""
        query = sa.select(jobs.c.id).where(jobs.c.state.in_([state.value for state in UNFINISHED]))
        with self.database.begin(read_only=True) as connection:
            return set(job_ids) & set(connection.execute(query).scalars())

    def events(self, job_id: str, *, after: int = 0, limit: int = 500, project: str | None = None) -> Events:
        """Its history from the number after `after` on, in order, `limit` (1000 at most) of it."""
        query = sa.select(job_events).where(job_events.c.job_id == job_id, job_events.c.seq > after)
        query = query.order_by(job_events.c.seq).limit(_limit(limit, MAX_EVENTS))
        with self.database.begin(read_only=True) as connection:
            _found(connection, job_id, project, lock=False)
            return [as_event(row) for row in connection.execute(query)]

    def last_seqs(self, ids: Collection[str]) -> dict[str, int]:
        """The number of the newest event of each of these jobs, without those that are gone."""
        query = sa.select(jobs.c.id, jobs.c.last_seq).where(jobs.c.id.in_(list(ids)))
        with self.database.begin(read_only=True) as connection:
            return {row.id: row.last_seq for row in connection.execute(query)}

    def cancel(self, job_id: str, *, actor: str = "", project: str | None = None) -> Job:
        """Queued or paused: cancelled now. Running: wished, done at its next step boundary and in ten seconds at the latest.
        Raises Conflict when it has succeeded or failed."""
        with self.database.begin() as connection:
            row = _found(connection, job_id, project)
            state = JobState(row.state)
            if state is JobState.RUNNING and row.wish != "cancel":
                note(connection, row, wish="cancel", why=f"cancellation asked for{_by(actor)}")
            elif state not in (JobState.RUNNING, JobState.CANCELLED):
                check_move(job_id, state, JobState.CANCELLED)
                move(connection, row, JobState.CANCELLED, f"cancelled{_by(actor)}")
            return _read(connection, job_id, None)

    def pause(self, job_id: str, *, actor: str = "", project: str | None = None) -> Job:
        """Queued: paused now. Running: wished, done at its next step boundary; a kind that keeps no checkpoints begins again
        when it is resumed, and the event says so. Raises Conflict when it is over or being cancelled."""
        with self.database.begin() as connection:
            row = _found(connection, job_id, project)
            state = JobState(row.state)
            if row.wish == "cancel":
                raise Conflict(f"Job {job_id} is being cancelled; it cannot be paused.")
            if state is JobState.RUNNING and row.wish != "pause":
                again = "; this kind keeps no checkpoints: its work begins again on resume" if starts_over(row.kind) else ""
                note(connection, row, wish="pause", why=f"pause asked for{_by(actor)}{again}")
            elif state not in (JobState.RUNNING, JobState.PAUSED):
                check_move(job_id, state, JobState.PAUSED)
                move(connection, row, JobState.PAUSED, f"paused{_by(actor)}")
            return _read(connection, job_id, None)

    def resume(self, job_id: str, *, actor: str = "", project: str | None = None) -> Job:
        """Paused: queued again. Running with a wish to pause: the wish is withdrawn. Queued or running: nothing. Raises
        Conflict when it is over or being cancelled."""
        with self.database.begin() as connection:
            row = _found(connection, job_id, project)
            state = JobState(row.state)
            if row.wish == "cancel" or state.final:
                raise Conflict(f"Job {job_id} is {'being cancelled' if row.wish else state}; it cannot be resumed.")
            if state is JobState.PAUSED:
                move(connection, row, JobState.QUEUED, f"resumed{_by(actor)}", not_before=None)
            elif row.wish == "pause":
                note(connection, row, wish="", why=f"pause withdrawn{_by(actor)}")
            return _read(connection, job_id, None)

    def remove(self, job_id: str, *, project: str | None = None) -> None:
        """Forgets a job that is over, with its events. Raises Conflict while it is not, or while an unfinished job needs it."""
        with self.database.begin() as connection:
            row = _found(connection, job_id, project)
            if not JobState(row.state).final:
                raise Conflict(f"Job {job_id} is {row.state}; it cannot be removed.", hint=f"First: llmos cancel {job_id}")
            links = job_dependencies.c
            query = sa.select(links.job_id).join(jobs, jobs.c.id == links.job_id).where(links.needs == job_id)
            user = connection.execute(query.where(jobs.c.state.in_([state.value for state in UNFINISHED])).limit(1)).scalar()
            if user is not None:
                raise Conflict(f"Job {user} needs {job_id} and is not finished; it cannot be removed.")
            connection.execute(sa.delete(jobs).where(jobs.c.id == job_id))

    def _known(self, connection: Connection, spec: JobSpec, row: Mapping[str, Any]) -> Job | None:
        if spec.idempotency_key is None:
            return None
        same = (jobs.c.project == spec.project, jobs.c.idempotency_key == spec.idempotency_key)
        found = connection.execute(sa.select(jobs).where(*same)).first()
        if found is None:
            return None
        if found.kind != row["kind"] or found.params != row["params"]:
            raise Conflict(
                f"The idempotency key {spec.idempotency_key!r} belongs to job {found.id}, which has another kind or other parameters.",
                param="idempotency_key",
            )
        return as_jobs(connection, [found])[0]

    def _insert(self, connection: Connection, spec: JobSpec, row: dict[str, Any]) -> Job:
        needs = sorted(set(spec.depends_on))
        _check_dependencies(connection, needs, spec.project)
        job_id = row["id"] = new_id()
        connection.execute(sa.insert(jobs).values(row))
        if needs:
            connection.execute(sa.insert(job_dependencies), [{"job_id": job_id, "needs": need} for need in needs])
        write_events(connection, job_id, 0, 1, [("state", {"state": JobState.QUEUED, "why": "submitted"})])
        return _read(connection, job_id, None)


def starts_over(kind: str) -> bool:
    """Whether a pause loses the work of a running job of this kind. False for a kind that is not known here."""
    return kind in kinds and not kinds.get(kind).checkpoints


def _by(actor: str) -> str:
    return f" by {actor}" if actor else ""


def _limit(limit: int, most: int) -> int:
    if not 1 <= limit <= most:
        raise InvalidValue(f"limit is {limit}; 1 to {most} are possible.", param="limit")
    return limit


def _found(connection: Connection, job_id: str, project: str | None, *, lock: bool = True) -> Row[Any]:
    """The row, locked for this transaction unless told otherwise."""
    row = locked(connection, job_id) if lock else connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).first()
    if row is None or (project is not None and row.project != project):
        raise NotFound(f"There is no job {job_id!r}.", param="job", hint="See: llmos jobs")
    return row


def _read(connection: Connection, job_id: str, project: str | None) -> Job:
    return as_jobs(connection, [_found(connection, job_id, project, lock=False)])[0]


def _check_dependencies(connection: Connection, needs: list[str], project: str) -> None:
    """They exist, in this project, and can still succeed. Their rows stay locked: none of them ends between this and the commit."""
    rows = connection.execute(
        sa.select(jobs.c.id, jobs.c.state, jobs.c.project)
        .where(jobs.c.id.in_(needs))
        .order_by(jobs.c.id)
        .with_for_update(read=True)
    ).all()
    known = {row.id: JobState(row.state) for row in rows if row.project == project}
    for need in needs:
        if need not in known:
            raise NotFound(f"There is no job {need!r} to depend on.", param="depends_on")
        if known[need] in (JobState.FAILED, JobState.CANCELLED):
            raise Conflict(f"Job {need} is {known[need]}; what depends on it could never run.", param="depends_on")


def _checked(spec: JobSpec) -> dict[str, Any]:
    """The row without its id. Raises InvalidValue naming the field."""
    params = to_json(spec.params, "params")
    if len(params) > MAX_PARAMS_BYTES:
        raise InvalidValue(f"params have {len(params):,} bytes of JSON; {MAX_PARAMS_BYTES:,} may be.", param="params")
    _check_texts(spec)
    _check_numbers(spec)
    created = iso(now())
    return {
        "kind": spec.kind,
        "params": params,
        "project": spec.project,
        "submitted_by": spec.submitted_by,
        "priority": spec.priority.value,
        "resources": record_json(spec.resources or Resources()),
        "retry": record_json(spec.retry),
        "labels": to_json(spec.labels, "labels"),
        "idempotency_key": spec.idempotency_key,
        "state": JobState.QUEUED.value,
        "wish": "",
        "attempt": 0,
        "failures": 0,
        "lost": 0,
        "runner": "",
        "beat": 0,
        "last_seq": 1,
        "progress": record_json(JobProgress()),
        "created_at": created,
        "deadline_at": after(spec.deadline_s) if spec.deadline_s is not None else None,
    }


def _check_texts(spec: JobSpec) -> None:
    widths = {"kind": 64, "project": 64, "submitted_by": 64, "idempotency_key": 255}
    for field, width in widths.items():
        text = getattr(spec, field)
        if text is not None and (len(text) > width or not (text.isprintable() and (text or field == "submitted_by"))):
            raise InvalidValue(f"{field} is {text[:80]!r}; it is a printable text of 1 to {width} characters.", param=field)
    labels = spec.labels.items()
    if len(spec.labels) > MAX_LABELS or any(not 0 < len(name) <= 64 or len(value) > MAX_LABEL_CHARS for name, value in labels):
        raise InvalidValue(
            f"labels are at most {MAX_LABELS}, with names of 1 to 64 and values of up to {MAX_LABEL_CHARS} characters.",
            param="labels",
        )


def _check_numbers(spec: JobSpec) -> None:
    if len(spec.depends_on) > MAX_DEPENDENCIES:
        raise InvalidValue(f"depends_on names {len(spec.depends_on)} jobs; {MAX_DEPENDENCIES} may be.", param="depends_on")
    if spec.deadline_s is not None and not 0 < spec.deadline_s <= MAX_DEADLINE_S:
        raise InvalidValue(
            f"deadline_s is {spec.deadline_s}; more than 0 and at most {MAX_DEADLINE_S:.0f} is possible.", param="deadline_s"
        )
    retry = spec.retry
    if retry.attempts < 1 or not (0 <= retry.backoff_s < math.inf and 0 <= retry.max_backoff_s <= MAX_DEADLINE_S):
        raise InvalidValue("retry needs at least 1 attempt and waits of 0 or more seconds.", param="retry")
    asked = spec.resources or Resources()
    for field in ("cores", "memory_bytes", "disk_bytes", "accelerators"):
        if not 0 <= getattr(asked, field) < 1 << 62:
            raise InvalidValue(f"resources.{field} is {getattr(asked, field)}; it cannot be negative.", param=f"resources.{field}")
