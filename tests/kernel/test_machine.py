"""Random sequences of everything that users and runners may do to jobs, against a model that fits on a page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from llmos.errors import Conflict, Fenced, NotFound
from llmos.infra.database import Database
from llmos.infra.tables import jobs as table
from llmos.kernel.base import JobError, JobSpec, JobState, Retry
from llmos.kernel.messages import Event
from llmos.kernel.policy import MAX_LOST, End
from llmos.kernel.store import JobStore

Q, R, P, S, F, C = (JobState(name) for name in ("queued", "running", "paused", "succeeded", "failed", "cancelled"))
ATTEMPTS = 2


@dataclass
class Model:
    """What we expect of one job."""

    needs: list[str] = field(default_factory=list)
    state: JobState = Q
    wish: str = ""
    attempt: int = 0
    failures: int = 0
    lost: int = 0
    checkpoint: dict[str, Any] | None = None
    events: int = 1


class Jobs(RuleBasedStateMachine):
    database: Database

    job_ids = Bundle("job_ids")

    @initialize()
    def empty(self) -> None:
        self.store = JobStore(self.database)
        with self.database.begin() as connection:
            connection.execute(sa.delete(table))
        self.model: dict[str, Model] = {}
        self.keys: dict[str, str] = {}

    def end(self, job_id: str, state: JobState) -> None:
        """The job ends, and with it what needs it."""
        model = self.model[job_id]
        model.state, model.wish, model.events = state, "", model.events + 1
        if state in (F, C):
            for other_id, other in self.model.items():
                if job_id in other.needs and other.state in (Q, P):
                    self.end(other_id, F)

    @rule(target=job_ids, needs=st.lists(job_ids, max_size=3), key=st.sampled_from(["", "", "", "a", "b"]))
    def submit(self, needs: list[str], key: str) -> Any:
        known = [need for need in dict.fromkeys(needs) if need in self.model]
        spec = JobSpec(
            kind="test-work",
            depends_on=tuple(known),
            idempotency_key=key or None,
            retry=Retry(attempts=ATTEMPTS, backoff_s=0),
        )
        if key and key in self.keys:
            assert self.store.submit(spec).id == self.keys[key]
            return multiple()
        if any(self.model[need].state in (F, C) for need in known):
            try:
                self.store.submit(spec)
            except Conflict:
                return multiple()
            raise AssertionError("it depends on a job that has failed")
        job = self.store.submit(spec)
        assert all(job.id > other for other in self.model)
        self.model[job.id] = Model(needs=known)
        if key:
            self.keys[key] = job.id
        return job.id

    @rule()
    def look(self) -> None:
        expected = {
            job_id
            for job_id, model in self.model.items()
            if model.state is Q and all(self.model[need].state is S for need in model.needs if need in self.model)
        }
        assert {job.id for job in self.store.ready()} == expected
        assert {job.id for job in self.store.held()} == {job_id for job_id, model in self.model.items() if model.state is R}

    @rule(job_id=job_ids)
    def claim(self, job_id: str) -> None:
        model = self.model.get(job_id)
        job = self.store.claim(job_id, "me")
        if model is None or model.state is not Q:
            assert job is None
            return
        assert job is not None and job.checkpoint == model.checkpoint
        model.state, model.attempt, model.events = R, model.attempt + 1, model.events + 1

    @rule(job_id=job_ids, age=st.integers(0, 2), number=st.integers(0, 3), save=st.booleans())
    def report(self, job_id: str, age: int, number: int, save: bool) -> None:
        model = self.model.get(job_id, Model())
        checkpoint = {"n": number} if save else None
        events = [Event("log", {"level": "info", "text": str(place)}) for place in range(number)]
        holds = model.state is R and age == 0 and job_id in self.model
        try:
            self.store.record(job_id, model.attempt - age, events, checkpoint=checkpoint)
        except Fenced:
            assert not holds
            return
        assert holds
        model.events += number + save
        if save:
            model.checkpoint, model.lost = checkpoint, 0

    @rule(job_id=job_ids, age=st.integers(0, 1), how=st.sampled_from(["done", "failed", "again", "lost", "gone", "left"]))
    def stop(self, job_id: str, age: int, how: Any) -> None:
        model = self.model.get(job_id, Model())
        holds = model.state is R and age == 0 and job_id in self.model
        try:
            if how == "done":
                self.store.finish(job_id, model.attempt - age, S, result={})
            else:
                error = JobError(code="x", message="x")
                name: Any = "failed" if how == "again" else how
                self.store.release(job_id, model.attempt - age, End(how=name, why="x", error=error, again=how == "again"))
        except Fenced:
            assert not holds
            return
        assert holds
        if how == "done":
            self.end(job_id, S)
            return
        model.failures += how in ("failed", "again")
        model.lost = model.lost + 1 if how == "lost" else model.lost if how == "gone" else 0
        if model.wish == "cancel":
            self.end(job_id, C)
        elif how == "failed" or (how == "again" and model.failures >= ATTEMPTS) or model.lost >= MAX_LOST:
            self.end(job_id, F)
        else:
            model.state, model.events = (P if model.wish == "pause" else Q), model.events + 1
            model.wish = ""

    @rule(job_id=job_ids, what=st.sampled_from(["cancel", "pause", "resume"]))
    def ask(self, job_id: str, what: str) -> None:
        model = self.model.get(job_id, Model())
        before = (model.state, model.wish)
        try:
            getattr(self.store, what)(job_id)
        except NotFound:
            assert job_id not in self.model
            return
        except Conflict:
            final = model.state.final and (what, model.state) != ("cancel", C)
            assert final or (model.wish == "cancel" and what != "cancel")
            return
        assert job_id in self.model
        match what, *before:
            case "cancel", JobState.QUEUED | JobState.PAUSED, _:
                self.end(job_id, C)
            case "cancel", JobState.RUNNING, wish if wish != "cancel":
                model.wish, model.events = "cancel", model.events + 1
            case "pause", JobState.QUEUED, _:
                model.state, model.events = P, model.events + 1
            case "pause", JobState.RUNNING, "":
                model.wish, model.events = "pause", model.events + 1
            case "resume", JobState.PAUSED, _:
                model.state, model.events = Q, model.events + 1
            case "resume", JobState.RUNNING, "pause":
                model.wish, model.events = "", model.events + 1
            case _:
                pass

    @rule(job_id=consumes(job_ids))
    def remove(self, job_id: str) -> None:
        model = self.model.get(job_id)
        needed = any(job_id in other.needs and not other.state.final for other in self.model.values())
        try:
            self.store.remove(job_id)
        except NotFound:
            assert model is None
        except Conflict:
            assert model is not None and (not model.state.final or needed)
        else:
            assert model is not None and model.state.final and not needed
            del self.model[job_id]
            self.keys = {key: kept for key, kept in self.keys.items() if kept != job_id}

    @invariant()
    def the_rows_are_as_the_model(self) -> None:
        if not hasattr(self, "model"):
            return
        found = {job.id: job for job in self.store.list(limit=500)}
        assert set(found) == set(self.model)
        for job_id, model in self.model.items():
            job = found[job_id]
            expected = (model.state, model.wish, model.attempt, model.failures, model.lost, model.checkpoint)
            assert (job.state, job.wish, job.attempt, job.failures, job.lost, job.checkpoint) == expected
            assert (job.finished_at is not None) == model.state.final
            assert bool(job.runner) == (model.state is R)
            waits = [need for need in model.needs if need in self.model and self.model[need].state is not S]
            assert sorted(job.waits_for) == sorted(waits)

    def teardown(self) -> None:
        for job_id, model in getattr(self, "model", {}).items():
            events = self.store.events(job_id, limit=1000)
            assert [event.seq for event in events] == list(range(1, model.events + 1))
            assert [event.attempt for event in events] == sorted(event.attempt for event in events)


def test_the_store_does_what_the_model_says(database: Database) -> None:
    machine = type("JobsHere", (Jobs,), {"database": database})
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)),
    )
