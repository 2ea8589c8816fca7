"""P1: SIGKILL of attempts and of whole runners, at random and at named points. From the history afterwards: no acknowledged job is
lost, none is recorded twice, none is stuck."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import tests.kernel.kinds  # noqa: F401  # registers them
from llmos.infra.database import Database
from llmos.kernel.base import Job, JobSpec, JobState
from llmos.kernel.jobs import Jobs
from llmos.settings import Settings
from tests.promises.cluster import Runners, wait_all_over
from tests.promises.history import problems, read
from tests.promises.levels import quick_or_full, seeded

NUM_RANDOM = quick_or_full(17, 350)  # on each kind of database; the promise counts both
NUM_NAMED = quick_or_full(8, 152)
LEASE_S = 15.0
MARGIN_S = 5.0  # beyond the lease, and what the work itself takes
STEPS = 12


def submit(jobs: Jobs, rng: random.Random, **more: object) -> Job:
    params = {"steps": STEPS, "step_s": rng.choice([0.0, 0.01, 0.03]), **more}
    return jobs.submit(JobSpec(kind="test-work", params=params, project=rng.choice(["a", "b"])))


def check(database: Database, acknowledged: list[str]) -> None:
    """Nothing lost, doubled or stuck; and what succeeded has done every step, exactly once as far as it is recorded."""
    found = read(database)
    assert problems(found, acknowledged) == []
    for job in found.values():
        if job.state == JobState.SUCCEEDED:
            assert job.result == {"steps": STEPS, "sum": STEPS * (STEPS + 1) // 2}
        else:  # only a child that was hit three times in a row, without a checkpoint in between
            assert job.state == JobState.FAILED
            assert "in a row" in str(job.events[-1].data["error"]["message"])


@pytest.mark.timeout(7200)
def test_kills_at_random(
    database_url: str, database: Database, settings: Settings, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Two runners share the queue while one in three kills hits a runner, the others an attempt; jobs are submitted all the time."""
    rng = seeded("P1 random")
    jobs = Jobs(settings, database)
    acknowledged: list[str] = []
    kills = runner_kills = 0
    with Runners(database_url, settings.home, lease_s=LEASE_S) as runners:
        while kills < NUM_RANDOM:
            runners.keep(2)
            if jobs.store.count_unfinished() < 8:
                acknowledged += [submit(jobs, rng).id for _ in range(4)]
            time.sleep(rng.uniform(0.0, 0.6))
            if rng.random() < 1 / 3:
                runners.kill(rng.choice(runners.processes))
                kills, runner_kills = kills + 1, runner_kills + 1
            else:
                kills += runners.kill_random_child(rng)
        runners.keep(2)
        took_s = wait_all_over(database, LEASE_S + MARGIN_S + 60.0)
        check(database, acknowledged)
    record_property(
        "figure", f"{kills} kills ({runner_kills} of runners), {len(acknowledged)} jobs, 0 lost, over in {took_s:.1f} s"
    )


POINTS = list(itertools.product(["start", "before-save", "after-save", "before-result"], ["child", "parent"]))


@pytest.mark.timeout(7200)
def test_kills_at_named_points(
    database_url: str, database: Database, settings: Settings, record_property: Callable[[str, object], None]
) -> None:
    """Each job kills itself or its runner at one point, once; the runner is started again as a service manager does."""
    rng = seeded("P1 named")
    jobs = Jobs(settings, database)
    kills = 0
    acknowledged: list[str] = []
    with Runners(database_url, settings.home, lease_s=LEASE_S) as runners:
        for round_, (point, victim) in zip(range(NUM_NAMED), itertools.cycle(POINTS), strict=False):
            runners.keep(1)
            acknowledged.append(submit(jobs, rng, die_at=point, victim=victim).id)
            kills += 1
            if round_ % len(POINTS) == len(POINTS) - 1 or round_ == NUM_NAMED - 1:
                end = time.monotonic() + 120
                while jobs.store.count_unfinished():
                    runners.keep(1)
                    assert time.monotonic() < end, f"stuck: {jobs.list(limit=10)}"
                    time.sleep(0.05)
    check(database, acknowledged)
    assert all(job.attempt >= 2 for job in read(database).values()), "every job was hit"
    assert all(job.state == JobState.SUCCEEDED for job in read(database).values()), "once is never the end"
    record_property("figure", f"{kills} kills at {len(POINTS)} named points, 0 jobs lost or doubled")
