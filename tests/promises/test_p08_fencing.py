"""P8: a worker that was stopped past its lease and wakes up cannot record anything: the job is another's by then."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

import psutil
import pytest

import tests.kernel.kinds  # noqa: F401  # registers them
from llmos.infra.database import Database
from llmos.kernel.base import Job, JobSpec, JobState
from llmos.kernel.jobs import Jobs
from llmos.settings import Settings
from tests.promises.cluster import Runners, wait_all_over
from tests.promises.history import problems, read
from tests.promises.levels import quick_or_full, seeded

ROUNDS = quick_or_full(3, 50)  # on each kind of database
LEASE_S = 5.0
STEPS = 10


@pytest.mark.timeout(7200)
def test_a_worker_that_wakes_up_too_late(
    database_url: str, database: Database, settings: Settings, record_property: Callable[[str, object], None]
) -> None:
    """The first runner and its child are stopped in the middle of a job, a second one takes over; the first ones wake up while the
    second attempt runs, or after it has ended."""
    rng = seeded("P8")
    jobs = Jobs(settings, database)
    with Runners(database_url, settings.home, lease_s=LEASE_S) as runners:
        for _ in range(ROUNDS):
            job = jobs.submit(JobSpec(kind="test-work", params={"steps": STEPS, "step_s": 0.2}))
            first = runners.start()
            _until(lambda job=job: jobs.get(job.id).checkpoint is not None, "a checkpoint")  # type: ignore[misc]
            stopped = [first.pid, *(child.pid for child in psutil.Process(first.pid).children(recursive=True))]
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            second = runners.start()
            _until(lambda job=job: jobs.get(job.id).attempt == 2, "the second attempt")  # type: ignore[misc]
            if rng.random() < 0.5:
                wait_all_over(database, 60.0)
            for pid in reversed(stopped):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            wait_all_over(database, 60.0)
            time.sleep(1.0)  # the one that woke up has had its say
            _check(database, jobs.get(job.id))
            for process in (first, second):
                runners.kill(process)
    assert problems(read(database), []) == []
    record_property("figure", f"{ROUNDS} workers stopped past their lease, 0 recorded anything")


def _check(database: Database, job: Job) -> None:
    """After the second attempt has begun nothing of the first is in the history."""
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    events = read(database)[job.id].events
    taken_over = next(event.seq for event in events if event.data.get("why") == "attempt 2 starts")
    assert all(event.attempt == 2 for event in events if event.seq > taken_over)
    assert sum(event.data.get("state") == "succeeded" for event in events) == 1


def _until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, f"{what} did not come within 60 s"
        time.sleep(0.01)
