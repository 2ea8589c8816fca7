"""The judge of the promises must itself be judged: every kind of damage is found, in records made by hand and in a store that was
broken on purpose."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from llmos.errors import Fenced
from llmos.infra.database import Database, open_database
from llmos.infra.tables import job_events, jobs
from llmos.kernel.base import Job, JobSpec, JobState
from llmos.kernel.messages import Event as Told
from llmos.kernel.store import JobStore
from llmos.settings import Settings
from tests.promises import history
from tests.promises.history import Event, History, batch_problems, problems

GOOD = History(
    id="a",
    kind="promise-steps",
    state="succeeded",
    attempt=2,
    last_seq=6,
    params={"steps": 3},
    result={"steps": 3, "sum": 6},
    events=(
        Event(seq=1, attempt=0, type="state", data={"state": "queued", "why": "submitted"}),
        Event(seq=2, attempt=1, type="state", data={"state": "running", "why": "attempt 1 starts"}),
        Event(seq=3, attempt=1, type="state", data={"state": "queued", "why": "lost"}),
        Event(seq=4, attempt=2, type="state", data={"state": "running", "why": "attempt 2 starts"}),
        Event(seq=5, attempt=2, type="metric"),
        Event(seq=6, attempt=2, type="state", data={"state": "succeeded", "why": "done"}),
    ),
)


def without(seq: int) -> History:
    return replace(GOOD, events=tuple(event for event in GOOD.events if event.seq != seq))


def with_event(seq: int, **changes: object) -> History:
    return replace(GOOD, events=tuple(replace(event, **changes) if event.seq == seq else event for event in GOOD.events))  # type: ignore[arg-type]


def test_a_good_history_has_no_problem() -> None:
    assert problems({"a": GOOD}, ["a"]) == []


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (without(5), "numbered"),
        (replace(GOOD, last_seq=7), "its row says that there are 7"),
        (with_event(5, attempt=1), "go back"),
        (with_event(3, data={"state": "running", "why": "attempt 1 starts"}), "started twice"),
        (with_event(3, data={"state": "succeeded", "why": "done"}), "from succeeded to running"),
        (with_event(3, data={"state": "succeeded", "why": "done"}), "ended 2 times"),
        (with_event(4, data={"state": "succeeded", "why": "done"}), "from queued to succeeded"),
        (replace(GOOD, state="failed"), "its row says failed"),
        (replace(GOOD, result={"steps": 3, "sum": 7}), "its result is"),
        (replace(GOOD, result=None), "its result is"),
        (replace(GOOD, attempt=1), "the row knows 1"),
        (replace(GOOD, state="running", events=GOOD.events[:5], last_seq=5), "still running"),
        (replace(GOOD, events=(*GOOD.events, Event(seq=7, attempt=2, type="log")), last_seq=7), "after its end"),
        (replace(GOOD, events=()), "begins with"),
    ],
)
def test_each_kind_of_damage_is_named(broken: History, said: str) -> None:
    assert any(said in text for text in problems({"a": broken}, ["a"])), problems({"a": broken}, ["a"])


def test_a_lost_job_is_named() -> None:
    assert problems({"a": GOOD}, ["a", "b"]) == ["b: acknowledged and not there"]


def test_batches() -> None:
    asked = ["x", "y", "z"]
    good, bad = [json.dumps({"custom_id": name}) for name in ("x", "z")], json.dumps({"custom_id": "y"})
    assert batch_problems(asked, "\n".join(good), bad) == []
    assert batch_problems(asked, "\n".join([*good, bad]), bad) == [
        "item y has 2 lines",
        "the output is not in the order of the input",
    ]
    assert batch_problems(asked, "\n".join(good), "") == ["item y has 0 lines"]
    assert batch_problems(asked, "\n".join(good), bad + '\n{"custom_id": "w"}') == ["item w was never asked"]
    assert batch_problems(asked, "\n".join(good), bad + '\n{"custom') == ["line 2 of errors is no result: '{\"custom'"]
    assert batch_problems(asked, "\n".join(reversed(good)), bad) == ["the output is not in the order of the input"]


# -- a store that was broken on purpose -------------------------------------------------------------------------------------
@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(Settings.from_env({"LLMOS_HOME": str(tmp_path / "home")}))
    yield opened
    opened.close()


class Forgetful(JobStore):
    """Acknowledges a submission that is not committed."""

    def submit(self, spec: JobSpec) -> Job:
        job = super().submit(spec)
        with self.database.begin() as connection:
            connection.execute(sa.delete(jobs).where(jobs.c.id == job.id))
        return job


class Unfenced(JobStore):
    """Takes what any attempt records, as a store without fencing tokens does."""

    def record(self, job_id: str, attempt: int, *args: object, **options: object) -> None:
        super().record(job_id, self.get(job_id).attempt, *args, **options)  # type: ignore[arg-type]

    def finish(self, job_id: str, attempt: int, state: JobState, **options: object) -> None:
        with self.database.begin() as connection:
            connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(state="running"))
        super().finish(job_id, self.get(job_id).attempt, state, **options)  # type: ignore[arg-type]


def two_attempts(store: JobStore) -> str:
    """A job whose first attempt is given up, is finished by the second, and then the first wakes up and finishes it too."""
    job = store.submit(JobSpec(kind="promise-steps", params={"steps": 3}))
    result = {"steps": 3, "sum": 6}
    assert store.claim(job.id, "one")
    with store.database.begin() as connection:
        connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(state="queued", runner="", last_seq=3))
        history_line = {"job_id": job.id, "seq": 3, "attempt": 1, "at": "2026", "type": "state"}
        connection.execute(sa.insert(job_events).values(**history_line, data=json.dumps({"state": "queued", "why": "lost"})))
    assert store.claim(job.id, "two")
    store.record(job.id, 2, [Told("metric", {"name": "count"})])
    store.finish(job.id, 2, JobState.SUCCEEDED, result=result)
    with contextlib.suppress(Fenced):
        store.finish(job.id, 1, JobState.SUCCEEDED, result={"steps": 3, "sum": 99})
    return job.id


@pytest.mark.parametrize(
    ("store", "said"), [(JobStore, ()), (Unfenced, ("ended 2 times", "its result is")), (Forgetful, ("not there",))]
)
def test_a_broken_store_is_caught(database: Database, store: Callable[[Database], JobStore], said: tuple[str, ...]) -> None:
    made = store(database)
    job_id = made.submit(JobSpec(kind="promise-steps")).id if isinstance(made, Forgetful) else two_attempts(made)
    found = problems(history.read(database), [job_id])
    assert len(found) >= len(said)
    assert all(any(words in text for text in found) for words in said), found
    assert bool(found) == bool(said), found
