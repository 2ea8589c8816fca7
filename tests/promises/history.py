"""What must be true of every job and batch when the dust has settled, read from the database alone. Pure but for `read`.

acknowledged = present · exactly one final record, and it is the last · events 1, 2, 3, … · attempts only grow · legal moves only
a batch has exactly one line an item, and no other
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from llmos.infra.database import Database
from llmos.infra.tables import job_events, jobs
from llmos.kernel.base import MOVES, JobState
from tests.promises.kinds import expected_sum


@dataclass(frozen=True, kw_only=True)
class Event:
    seq: int
    attempt: int
    type: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class History:
    """One job: its row and its events, in the order of the database's key."""

    id: str
    kind: str
    state: str
    attempt: int
    last_seq: int
    params: dict[str, Any]
    result: dict[str, Any] | None
    events: tuple[Event, ...]


def read(database: Database) -> dict[str, History]:
    """All jobs by id."""
    with database.begin(read_only=True) as connection:
        rows = connection.execute(sa.select(jobs)).all()
        lines = connection.execute(sa.select(job_events).order_by(job_events.c.job_id, job_events.c.seq)).all()
    events: dict[str, list[Event]] = {}
    for line in lines:
        one = Event(seq=line.seq, attempt=line.attempt, type=line.type, data=json.loads(line.data))
        events.setdefault(line.job_id, []).append(one)
    return {
        row.id: History(
            id=row.id,
            kind=row.kind,
            state=row.state,
            attempt=row.attempt,
            last_seq=row.last_seq,
            params=json.loads(row.params),
            result=None if row.result is None else json.loads(row.result),
            events=tuple(events.get(row.id, ())),
        )
        for row in rows
    }


def problems(found: dict[str, History], acknowledged: Iterable[str], *, over: bool = True) -> list[str]:
    """Everything that is wrong, [] when nothing is. over: every job must have ended."""
    lost = [f"{job_id}: acknowledged and not there" for job_id in acknowledged if job_id not in found]
    return lost + [f"{job.id}: {text}" for job in found.values() for text in _of_one(job, over=over)]


def _of_one(job: History, *, over: bool) -> Iterable[str]:
    numbers = [event.seq for event in job.events]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"its events are numbered {numbers}"
    if job.last_seq != len(numbers):
        yield f"its row says that there are {job.last_seq} events; there are {len(numbers)}"
    attempts = [event.attempt for event in job.events]
    if attempts != sorted(attempts):
        yield f"its attempts go back: {attempts}"
    if attempts and max(attempts) > job.attempt:
        yield f"an event is of attempt {max(attempts)}; the row knows {job.attempt}"
    yield from _of_states(job, over=over)
    if job.kind == "promise-steps" and job.state == JobState.SUCCEEDED:
        steps = job.params["steps"]
        result = job.result or {}
        if (result.get("steps"), result.get("sum")) != (steps, expected_sum(steps)):
            yield f"it counted to {steps} and its result is {job.result}"


def _of_states(job: History, *, over: bool) -> Iterable[str]:
    states = [JobState(event.data["state"]) for event in job.events if event.type == "state"]
    if not states or states[0] is not JobState.QUEUED:
        yield f"its history begins with {states[:1]}"
        return
    for before, after in itertools.pairwise(states):
        if after is not before and after not in MOVES[before]:
            yield f"it went from {before} to {after}"
        if after is before and (before.final or before is not JobState.RUNNING):
            yield f"it became {after} twice in a row"
    starts = [event.attempt for event in job.events if event.type == "state" and "starts" in event.data.get("why", "")]
    if len(starts) != len(set(starts)):
        yield f"an attempt started twice: {starts}"
    finals = [state for state in states if state.final]
    if len(finals) > 1:
        yield f"it ended {len(finals)} times: {', '.join(finals)}"
    if finals and (not states[-1].final or job.events[-1].type != "state"):
        yield "something happened after its end"
    if states[-1] != job.state:
        yield f"its row says {job.state}, its history {states[-1]}"
    if over and not JobState(job.state).final:
        yield f"it is still {job.state}"


def batch_problems(asked: Sequence[str], output: str, errors: str) -> list[str]:
    """asked: the custom ids of the input. output, errors: the text of the two files."""
    found: list[str] = []
    given: Counter[str] = Counter()
    for name, text in (("output", output), ("errors", errors)):
        for number, line in enumerate(text.splitlines(), 1):
            try:
                given[json.loads(line)["custom_id"]] += 1
            except (ValueError, KeyError, TypeError):
                found.append(f"line {number} of {name} is no result: {line[:80]!r}")
    found += [f"item {name} has {given[name]} lines" for name in asked if given[name] != 1]
    found += [f"item {name} was never asked" for name in given if name not in set(asked)]
    ids = [json.loads(line)["custom_id"] for line in output.splitlines() if line.startswith("{") and '"custom_id"' in line]
    order = {name: place for place, name in enumerate(asked)}
    if [order.get(one, -1) for one in ids] != sorted(order.get(one, -1) for one in ids):
        found.append("the output is not in the order of the input")
    return found
