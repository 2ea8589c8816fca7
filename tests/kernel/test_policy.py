"""What runs next, and what an end means: pure functions, tested by example and by property."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos import errors
from llmos.kernel.base import JobError, JobState, Priority, Resources, Retry, Wish
from llmos.kernel.policy import AGEING_S, MAX_LOST, End, Machine, Waiting, choose, may_pass, order, settle


def job(number: int, **fields: object) -> Waiting:
    base = Waiting(
        id=f"job_{number:04}", kind="a", project="p", priority=Priority.NORMAL, resources=Resources(cores=1), waited_s=0.0
    )
    return replace(base, **fields)  # type: ignore[arg-type]


def ids(jobs: list[Waiting]) -> list[int]:
    return [int(one.id.removeprefix("job_")) for one in jobs]


def test_class_before_age_and_age_lifts() -> None:
    batch, normal, urgent = (
        job(1, priority=Priority.BATCH),
        job(2, priority=Priority.NORMAL),
        job(3, priority=Priority.INTERACTIVE),
    )
    assert ids(order([batch, normal, urgent], {}, {})) == [3, 2, 1]
    patient = replace(batch, waited_s=2 * AGEING_S)
    assert ids(order([patient, normal, urgent], {}, {})) == [1, 3, 2]


def test_projects_take_turns() -> None:
    greedy = [job(number, project="greedy") for number in range(6)]
    small = [job(number, project="small") for number in (10, 11)]
    assert ids(order([*greedy, *small], {}, {}))[:4] == [0, 10, 1, 11]
    assert ids(order([*greedy, *small], {"greedy": 1}, {}))[0] == 10
    assert ids(order([*greedy, *small], {}, {"greedy": 5}))[0] == 10


def test_a_big_job_is_not_passed_by() -> None:
    machine = Machine(cores=4, free_cores=2)
    big, little, light = job(1, resources=Resources(cores=4)), job(2), job(3, resources=Resources())
    assert ids(choose([big, little, light], machine, running={}, started={})) == [3]
    assert ids(choose([little, big], replace(machine, free_cores=4), running={}, started={})) == [1]


def test_a_job_that_asks_for_more_cores_than_there_are_gets_all() -> None:
    assert ids(choose([job(1, resources=Resources(cores=64))], Machine(cores=2, free_cores=2), running={}, started={})) == [1]


def test_memory_is_kept_for_the_first_that_lacks_it() -> None:
    machine = Machine(cores=8, free_cores=8, memory_bytes=10, free_memory_bytes=5)
    big, little, none = (job(number, resources=Resources(memory_bytes=size)) for number, size in ((1, 8), (2, 2), (3, 0)))
    assert ids(choose([big, little, none], machine, running={}, started={})) == [3]
    never = job(0, resources=Resources(memory_bytes=11))
    assert ids(choose([never, little], machine, running={}, started={})) == [2]


resources = st.builds(
    Resources, cores=st.integers(0, 6), memory_bytes=st.integers(0, 12), accelerators=st.integers(0, 1), disk_bytes=st.just(0)
)
queues = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(list(Priority)), resources, st.floats(0, 5000)), max_size=40
).map(
    lambda rows: [
        job(number, project=project, priority=priority, resources=asked, waited_s=waited_s)
        for number, (project, priority, asked, waited_s) in enumerate(rows)
    ]
)


@given(waiting=queues, free_cores=st.integers(0, 4), free_memory=st.integers(0, 10), light=st.integers(0, 8))
def test_what_is_chosen_fits_and_nothing_that_fits_alone_is_left_for_nothing(
    waiting: list[Waiting], free_cores: int, free_memory: int, light: int
) -> None:
    machine = Machine(
        cores=4,
        free_cores=free_cores,
        memory_bytes=10,
        free_memory_bytes=free_memory,
        accelerators=1,
        free_accelerators=1,
        light=light,
    )
    chosen = choose(waiting, machine, running={}, started={})
    assert sum(min(4, one.resources.cores) for one in chosen) <= free_cores
    assert sum(one.resources.memory_bytes for one in chosen) <= free_memory
    assert sum(one.resources.accelerators for one in chosen) <= 1
    assert sum(one.resources.cores == 0 for one in chosen) <= light
    ordered = order(waiting, {}, {})
    assert Counter(one.id for one in ordered) == Counter(one.id for one in waiting)
    assert [one for one in ordered if one in chosen] == chosen
    possible = [one for one in ordered if machine.could_ever_fit(one.resources)]
    if possible and machine.fits(possible[0].resources):
        assert possible[0] in chosen


@given(waiting=queues)
def test_nobody_starves(waiting: list[Waiting]) -> None:
    """A job that came before all others and waits long enough is first, whatever the others are."""
    oldest = job(0, priority=Priority.BATCH, project="patient", waited_s=3 * AGEING_S)
    others = [replace(one, id=f"job_9{number:03}", waited_s=min(one.waited_s, 100.0)) for number, one in enumerate(waiting)]
    others = [one for one in others if one.project != "patient"]
    rank_zero = [one for one in order([oldest, *others], {}, {}) if one.rank == 0]
    assert rank_zero.index(oldest) < 4, "behind the first of each of three projects at most"


ERROR = JobError(code="x", message="x")


@pytest.mark.parametrize(
    ("end", "wish", "failures", "lost", "state", "wait_s"),
    [
        (End(how="left", why=""), "", 0, 0, "queued", 0),
        (End(how="left", why=""), "pause", 0, 0, "paused", 0),
        (End(how="left", why=""), "cancel", 0, 0, "cancelled", 0),
        (End(how="failed", why="", error=ERROR), "", 0, 0, "failed", 0),
        (End(how="failed", why="", error=ERROR), "cancel", 0, 0, "cancelled", 0),
        (End(how="failed", why="", error=ERROR), "pause", 0, 0, "failed", 0),
        (End(how="failed", why="", error=ERROR, again=True), "", 0, 0, "queued", 1),
        (End(how="failed", why="", error=ERROR, again=True), "", 1, 0, "queued", 2),
        (End(how="failed", why="", error=ERROR, again=True, retry_after_s=60), "", 1, 0, "queued", 60),
        (End(how="failed", why="", error=ERROR, again=True), "pause", 1, 0, "paused", 0),
        (End(how="failed", why="", error=ERROR, again=True), "", 2, 0, "failed", 0),
        (End(how="lost", why=""), "", 2, 0, "queued", 0),
        (End(how="lost", why=""), "", 0, 1, "queued", 2),
        (End(how="lost", why=""), "", 0, MAX_LOST - 1, "failed", 0),
        (End(how="gone", why=""), "", 0, MAX_LOST - 1, "queued", 0),
    ],
)
def test_what_an_end_means(end: End, wish: Wish, failures: int, lost: int, state: str, wait_s: float) -> None:
    verdict = settle(end, wish=wish, retry=Retry(attempts=3), failures=failures, lost=lost)
    assert (verdict.state, verdict.wait_s) == (state, wait_s)
    assert (verdict.error is not None) == (verdict.state in (JobState.FAILED, JobState.CANCELLED))


@pytest.mark.parametrize("number", range(1, 12))
def test_waits_double_up_to_a_cap(number: int) -> None:
    assert Retry(backoff_s=1.0, max_backoff_s=300.0).wait_s(number) == min(2.0 ** (number - 1), 300.0)


def test_only_what_may_mend_itself_is_tried_again() -> None:
    again = [
        errors.StorageError("x"),
        errors.OverCapacity("x"),
        errors.RateLimited("x"),
        errors.SourceError("x"),
        errors.Unreachable("x"),
        errors.SourceStatus("x", status=503),
        errors.SourceStatus("x", status=429),
        errors.EngineDied("x"),
        ValueError("a bug"),
        OSError("x"),
    ]
    never = [
        errors.UsageError("x"),
        errors.ContextLengthExceeded("x"),
        errors.NotFound("x"),
        errors.Conflict("x"),
        errors.PermissionDenied("x"),
        errors.LicenceNotAccepted("x"),
        errors.SourceStatus("x", status=404),
        errors.CorruptFile("x"),
        errors.LimitExceeded("x"),
        errors.MissingExtra("x", needed_for="x"),
        errors.Quarantined("x"),
        errors.DeadlineExceeded("x"),
        MemoryError(),
    ]
    assert all(may_pass(problem) for problem in again)
    assert not any(may_pass(problem) for problem in never)
