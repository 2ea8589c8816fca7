"""The store on SQLite and PostgreSQL: submitting, moving, looking up; what is acknowledged, numbered and refused."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from llmos.errors import Conflict, Fenced, InvalidValue, NotFound
from llmos.infra.database import Database
from llmos.infra.tables import job_dependencies, job_events
from llmos.kernel.base import JobError, JobProgress, JobSpec, JobState, Priority, Resources, Retry
from llmos.kernel.messages import Event
from llmos.kernel.policy import End
from llmos.kernel.store import MAX_PARAMS_BYTES, JobStore

SPEC = JobSpec(kind="test-empty")
LEFT = End(how="left", why="the service stops")
CRASH = End(how="failed", why="failed", error=JobError(code="crashed", message="a bug"), again=True)


def claimed(store: JobStore, job_id: str) -> int:
    job = store.claim(job_id, "me")
    assert job is not None
    return job.attempt


def states(store: JobStore, job_id: str) -> list[str]:
    return [event.data["state"] for event in store.events(job_id) if event.type == "state"]


def test_a_job_comes_back_as_it_was_submitted(store: JobStore) -> None:
    needed = store.submit(SPEC)
    spec = JobSpec(
        kind="test-sleep",
        params={"seconds": 1, "name": "\x00 日本 \ud800"},
        project="research",
        submitted_by="key_1",
        priority=Priority.BATCH,
        resources=Resources(cores=2, memory_bytes=5 << 30, disk_bytes=1, accelerators=1),
        retry=Retry(attempts=5, backoff_s=2.0, max_backoff_s=9.0),
        labels={"run": 'a "quoted" %_ one'},
        idempotency_key="k",
        deadline_s=100.0,
    )
    job = store.submit(spec)
    assert store.get(job.id) == job
    same = ("kind", "params", "project", "submitted_by", "priority", "resources", "retry", "labels", "idempotency_key")
    assert all(getattr(job, field) == getattr(spec, field) for field in same)
    assert (job.state, job.attempt, job.wish, job.runner, job.error) == (JobState.QUEUED, 0, "", "", None)
    assert job.deadline_at is not None and job.deadline_at > job.created_at
    assert [(event.seq, event.type, event.data["state"]) for event in store.events(job.id)] == [(1, "state", "queued")]
    assert needed.id < job.id


def test_jobs_are_listed_newest_first_and_filtered(store: JobStore) -> None:
    first = store.submit(JobSpec(kind="a", labels={"run": "1", "note": 'x","run":"2'}))
    second = store.submit(JobSpec(kind="b", labels={"run": "2"}))
    third = store.submit(JobSpec(kind="a", project="other", labels={"RUN": "2"}))
    ids = [job.id for job in store.list()]
    assert ids == [third.id, second.id, first.id]
    assert [job.id for job in store.list(project="other")] == [third.id]
    assert [job.id for job in store.list(kind="a", limit=1, before=third.id)] == [first.id]
    assert [job.id for job in store.list(labels={"run": "2"})] == [second.id]
    store.cancel(second.id)
    assert [job.id for job in store.list(states=[JobState.CANCELLED])] == [second.id]
    assert store.count_unfinished() == 2
    assert store.count_unfinished(project="other") == 1
    with pytest.raises(InvalidValue, match="limit"):
        store.list(limit=0)


def test_another_project_does_not_see_it(store: JobStore) -> None:
    job = store.submit(JobSpec(kind="a", project="mine"))
    for call in (store.get, store.events, store.cancel, store.pause, store.resume, store.remove):
        with pytest.raises(NotFound):
            call(job.id, project="yours")
        with pytest.raises(NotFound):
            call("job_unknown", project="mine")
    assert store.get(job.id, project="mine").state is JobState.QUEUED
    with pytest.raises(NotFound, match="depend"):
        store.submit(JobSpec(kind="a", project="yours", depends_on=(job.id,)))


def test_an_idempotency_key_makes_one_job(store: JobStore) -> None:
    spec = JobSpec(kind="a", params={"x": 1, "y": 2}, idempotency_key="once")
    job = store.submit(spec)
    assert store.submit(JobSpec(kind="a", params={"y": 2, "x": 1}, idempotency_key="once")).id == job.id
    assert store.submit(JobSpec(kind="a", params={}, project="other", idempotency_key="once")).id != job.id
    with pytest.raises(Conflict, match="another kind or other parameters"):
        store.submit(JobSpec(kind="a", params={"x": 2}, idempotency_key="once"))
    with pytest.raises(Conflict):
        store.submit(JobSpec(kind="b", params={"x": 1, "y": 2}, idempotency_key="once"))


def test_many_submitters_of_one_key_get_one_job(store: JobStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: store.submit(JobSpec(kind="a", idempotency_key="once")).id, range(40)))
    assert len(found) == 1
    assert len(store.list()) == 1


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (JobSpec(kind=""), "kind"),
        (JobSpec(kind="a", params={"x": float("nan")}), "params"),
        (JobSpec(kind="a", params={"x": object()}), "params"),
        (JobSpec(kind="a", params={"x": "y" * MAX_PARAMS_BYTES}), "params"),
        (JobSpec(kind="a", project="x" * 65), "project"),
        (JobSpec(kind="a", idempotency_key="a\nb"), "idempotency_key"),
        (JobSpec(kind="a", idempotency_key="a\x00"), "idempotency_key"),
        (JobSpec(kind="a", idempotency_key=""), "idempotency_key"),
        (JobSpec(kind="a", deadline_s=0), "deadline_s"),
        (JobSpec(kind="a", deadline_s=float("inf")), "deadline_s"),
        (JobSpec(kind="a", deadline_s=float("nan")), "deadline_s"),
        (JobSpec(kind="a", retry=Retry(attempts=0)), "retry"),
        (JobSpec(kind="a", retry=Retry(backoff_s=-1)), "retry"),
        (JobSpec(kind="a", resources=Resources(memory_bytes=-1)), "resources.memory_bytes"),
        (JobSpec(kind="a", labels={"": "x"}), "labels"),
        (JobSpec(kind="a", labels={"x": "y" * 300}), "labels"),
        (JobSpec(kind="a", depends_on=("x",) * 65), "depends_on"),
    ],
)
def test_a_bad_field_is_named(store: JobStore, spec: JobSpec, field: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        store.submit(spec)
    assert caught.value.param == field
    assert store.list() == []


def test_one_of_many_claimers_gets_it(store: JobStore) -> None:
    """Several runners share one queue: each job is claimed once."""
    ids = [store.submit(SPEC).id for _ in range(20)]
    taken: list[str] = []
    lock = threading.Lock()

    def work(number: int) -> None:
        for job_id in ids:
            job = store.claim(job_id, f"runner {number}")
            if job is not None:
                assert job.runner == f"runner {number}"
                with lock:
                    taken.append(job.id)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert sorted(taken) == sorted(ids)
    assert {store.get(job_id).attempt for job_id in ids} == {1}


def test_events_are_numbered_without_gaps_under_many_writers(store: JobStore) -> None:
    job = store.submit(SPEC)
    attempt = claimed(store, job.id)

    def write(number: int) -> None:
        store.record(job.id, attempt, [Event("metric", {"n": number, "i": i}) for i in range(3)])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(30)))
    events = store.events(job.id, limit=1000)
    assert [event.seq for event in events] == list(range(1, 93))
    told = [(event.data["n"], event.data["i"]) for event in events if event.type == "metric"]
    assert sorted(told) == [(n, i) for n in range(30) for i in range(3)]
    assert all(told[place][1] == place % 3 for place in range(90)), "the events of one call lie together"
    assert [event.seq for event in store.events(job.id, after=90)] == [91, 92]


def test_an_old_attempt_can_record_nothing(store: JobStore) -> None:
    job = store.submit(SPEC)
    old = claimed(store, job.id)
    assert store.release(job.id, old, LEFT) is JobState.QUEUED
    new = claimed(store, job.id)
    assert new == old + 1
    before = store.events(job.id)
    for write in (
        lambda: store.record(job.id, old, [Event("log", {"text": "x"})]),
        lambda: store.record(job.id, old, checkpoint={"x": 1}),
        lambda: store.finish(job.id, old, JobState.SUCCEEDED, result={}),
        lambda: store.release(job.id, old, LEFT),
    ):
        with pytest.raises(Fenced):
            write()
    store.beat([(job.id, old)])
    assert store.get(job.id).beat == 2, "only the two claims"
    assert store.events(job.id) == before
    store.finish(job.id, new, JobState.SUCCEEDED, result={"by": new})
    with pytest.raises(Fenced):
        store.finish(job.id, new, JobState.SUCCEEDED, result={"by": "again"})
    assert store.get(job.id).result == {"by": new}


def test_two_finish_at_once_and_one_is_recorded(store: JobStore) -> None:
    job = store.submit(SPEC)
    attempt = claimed(store, job.id)

    def finish(number: int) -> int:
        try:
            store.finish(job.id, attempt, JobState.SUCCEEDED, result={"by": number})
        except Fenced:
            return 0
        return 1

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(finish, range(6))) == 1
    assert states(store, job.id) == ["queued", "running", "succeeded"]


def test_what_an_attempt_reports_is_in_the_row(store: JobStore) -> None:
    job = store.submit(SPEC)
    attempt = claimed(store, job.id)
    store.record(job.id, attempt, progress=JobProgress(done=3, total=9, unit="steps", eta_s=1.5))
    store.record(job.id, attempt, checkpoint={"at": 3})
    now = store.get(job.id)
    assert (now.progress.done, now.progress.eta_s, now.checkpoint, now.beat) == (3, 1.5, {"at": 3}, 3)
    store.release(job.id, attempt, LEFT)
    again = store.claim(job.id, "me")
    assert again is not None and again.checkpoint == {"at": 3}


def test_cancel_pause_resume_at_once(store: JobStore) -> None:
    job = store.submit(SPEC)
    assert store.pause(job.id, actor="eva").state is JobState.PAUSED
    assert store.pause(job.id).state is JobState.PAUSED
    assert store.ready() == []
    assert store.claim(job.id, "me") is None
    assert store.resume(job.id).state is JobState.QUEUED
    assert store.resume(job.id).state is JobState.QUEUED
    done = store.cancel(job.id)
    assert (done.state, done.finished_at is not None) == (JobState.CANCELLED, True)
    assert store.cancel(job.id).state is JobState.CANCELLED
    assert states(store, job.id) == ["queued", "paused", "queued", "cancelled"]
    assert store.events(job.id)[1].data["why"] == "paused by eva"
    for call in (store.pause, store.resume):
        with pytest.raises(Conflict):
            call(job.id)


def test_wishes_of_a_running_job(store: JobStore) -> None:
    job = store.submit(SPEC)
    attempt = claimed(store, job.id)
    assert store.pause(job.id).wish == "pause"
    assert "begins again" in store.events(job.id)[-1].data["why"], "test-empty keeps no checkpoints"
    assert store.resume(job.id).wish == ""
    store.pause(job.id)
    assert store.cancel(job.id).wish == "cancel"
    for call in (store.pause, store.resume):
        with pytest.raises(Conflict, match="being cancelled"):
            call(job.id)
    assert store.release(job.id, attempt, CRASH) is JobState.CANCELLED
    assert store.get(job.id).wish == ""


def test_a_finished_job_cannot_be_cancelled(store: JobStore) -> None:
    job = store.submit(SPEC)
    store.finish(job.id, claimed(store, job.id), JobState.SUCCEEDED, result={})
    with pytest.raises(Conflict, match="succeeded"):
        store.cancel(job.id)


def test_a_job_waits_for_what_it_needs(store: JobStore) -> None:
    one, two = store.submit(SPEC), store.submit(SPEC)
    last = store.submit(JobSpec(kind="test-empty", depends_on=(one.id, two.id, one.id)))
    assert last.depends_on == last.waits_for == (one.id, two.id)
    assert {job.id for job in store.ready()} == {one.id, two.id}
    store.finish(one.id, claimed(store, one.id), JobState.SUCCEEDED, result={})
    assert store.get(last.id).waits_for == (two.id,)
    assert {job.id for job in store.ready()} == {two.id}
    with pytest.raises(Conflict, match="needs"):
        store.remove(one.id)
    store.finish(two.id, claimed(store, two.id), JobState.SUCCEEDED, result={})
    assert {job.id for job in store.ready()} == {last.id}


def test_a_failure_fails_all_that_needs_it(store: JobStore) -> None:
    """A diamond and a long tail: each fails once."""
    root = store.submit(SPEC)
    left, right = (store.submit(JobSpec(kind="a", depends_on=(root.id,))) for _ in range(2))
    tail = [store.submit(JobSpec(kind="a", depends_on=(left.id, right.id)))]
    while len(tail) < 30:
        tail.append(store.submit(JobSpec(kind="a", depends_on=(tail[-1].id,))))
    store.pause(tail[5].id)
    other = store.submit(SPEC)
    attempt = claimed(store, root.id)
    assert store.release(root.id, attempt, End(how="failed", why="x", error=JobError(code="x", message="x"))) is JobState.FAILED
    for job in (left, right, *tail):
        now = store.get(job.id)
        assert now.state is JobState.FAILED and now.error is not None and now.error.code == "dependency_failed"
        assert states(store, job.id).count("failed") == 1
    assert store.get(other.id).state is JobState.QUEUED
    with pytest.raises(Conflict, match="could never run"):
        store.submit(JobSpec(kind="a", depends_on=(root.id,)))


def test_cancelling_fails_what_needs_it(store: JobStore) -> None:
    root = store.submit(SPEC)
    needing = store.submit(JobSpec(kind="a", depends_on=(root.id,)))
    store.cancel(root.id)
    error = store.get(needing.id).error
    assert error is not None and "was cancelled" in error.message


def test_submitting_races_with_the_end_of_a_dependency(store: JobStore) -> None:
    """Either the submission is refused, or the job fails with it: it never waits for ever."""
    for _ in range(15):
        root = store.submit(SPEC)
        start = threading.Barrier(2)

        def submit(root_id: str = root.id, start: threading.Barrier = start) -> str:
            start.wait()
            try:
                return store.submit(JobSpec(kind="a", depends_on=(root_id,))).id
            except Conflict:
                return ""

        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(submit)
            start.wait()
            store.cancel(root.id)
            job_id = found.result()
        assert not job_id or store.get(job_id).state is JobState.FAILED


def test_deadlines_end_waiting_jobs(store: JobStore) -> None:
    late = store.submit(JobSpec(kind="test-empty", deadline_s=0.001))
    paused = store.submit(JobSpec(kind="test-empty", deadline_s=0.001))
    running = store.submit(JobSpec(kind="test-empty", deadline_s=0.001))
    early = store.submit(JobSpec(kind="test-empty", deadline_s=1000))
    needing = store.submit(JobSpec(kind="test-empty", depends_on=(late.id,)))
    store.pause(paused.id)
    claimed(store, running.id)
    threading.Event().wait(0.05)
    assert sorted(store.expire()) == sorted([late.id, paused.id])
    assert store.expire() == []
    error = store.get(late.id).error
    assert error is not None and error.code == "deadline_exceeded"
    assert store.get(needing.id).state is JobState.FAILED
    assert {job.id: job.overdue for job in store.held()} == {running.id: True}
    assert store.get(early.id).state is JobState.QUEUED


def test_a_failed_attempt_waits_before_the_next(store: JobStore) -> None:
    job = store.submit(JobSpec(kind="test-empty", retry=Retry(attempts=2, backoff_s=100)))
    assert store.release(job.id, claimed(store, job.id), CRASH) is JobState.QUEUED
    now = store.get(job.id)
    assert now.failures == 1 and now.not_before is not None and now.error is None
    assert store.ready() == []
    assert store.claim(job.id, "me") is not None, "who knows the id may try at once: only `ready` looks at the time"
    assert store.release(job.id, 2, CRASH) is JobState.FAILED
    error = store.get(job.id).error
    assert error is not None and error.message == "a bug"


def test_ready_is_fair_to_projects_however_long_the_queue_is(store: JobStore, database: Database) -> None:
    for _ in range(40):
        store.submit(JobSpec(kind="a", project="greedy"))
    small = store.submit(JobSpec(kind="a", project="small"))
    found = store.ready()
    assert small.id in {job.id for job in found}
    assert len(found) == 33
    assert [job.id for job in store.ready(only={small.id})] == [small.id]
    assert store.ready(kinds={"b"}) == []


def test_a_removed_job_leaves_nothing(store: JobStore, database: Database) -> None:
    root = store.submit(SPEC)
    job = store.submit(JobSpec(kind="test-empty", depends_on=(root.id,)))
    with pytest.raises(Conflict, match="cancel"):
        store.remove(job.id)
    store.cancel(root.id)
    store.remove(root.id)
    store.remove(job.id)
    with database.begin(read_only=True) as connection:
        for table in (job_events, job_dependencies):
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 0
    with pytest.raises(NotFound):
        store.get(job.id)
