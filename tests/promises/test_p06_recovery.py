"""P6: kills during recovery. A runner that takes over is killed while it does, several times in a row; the last one finishes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

import tests.kernel.kinds  # noqa: F401  # registers them
from llmos.infra.database import Database
from llmos.kernel.base import JobSpec, JobState
from llmos.kernel.jobs import Jobs
from llmos.settings import Settings
from tests.promises.cluster import Runners, wait_all_over
from tests.promises.history import problems, read
from tests.promises.levels import quick_or_full, seeded

ROUNDS = quick_or_full(3, 50)  # on each kind of database
STEPS = 15


@pytest.mark.timeout(7200)
def test_kills_while_a_runner_recovers(
    database_url: str, database: Database, settings: Settings, record_property: Callable[[str, object], None]
) -> None:
    rng = seeded("P6")
    jobs = Jobs(settings, database)
    acknowledged: list[str] = []
    kills = 0
    with Runners(database_url, settings.home, lease_s=15.0) as runners:
        for _ in range(ROUNDS):
            job_ids = [jobs.submit(JobSpec(kind="test-work", params={"steps": STEPS, "step_s": 0.02})).id for _ in range(4)]
            acknowledged += job_ids
            first = runners.start()
            while not any(jobs.get(job_id).checkpoint for job_id in job_ids):
                time.sleep(0.02)
            runners.kill(first)
            for _ in range(rng.choice([1, 2])):  # the second and the third kill come into the recovery from the one before
                again = runners.start()
                _wait_for_recovery(jobs, job_ids, again.pid, rng.choice(["claimed", "released", "early"]))
                time.sleep(rng.uniform(0.0, 0.1))
                runners.kill(again)
                kills += 1
            runners.start()
            wait_all_over(database, 90.0)
            for process in list(runners.processes):
                os.kill(process.pid, signal.SIGTERM)
                assert process.wait(timeout=30) == 0
                runners.processes.remove(process)
    found = read(database)
    assert problems(found, acknowledged) == []
    unlucky = [(job.id, job.events[-1].data) for job in found.values() if job.state != JobState.SUCCEEDED]
    assert unlucky == [], "a runner's death costs no job its chances"
    assert all(job.result == {"steps": STEPS, "sum": STEPS * (STEPS + 1) // 2} for job in found.values())
    record_property("figure", f"{ROUNDS} recoveries with {kills} further kills, {len(acknowledged)} jobs, 0 lost")


def _wait_for_recovery(jobs: Jobs, job_ids: list[str], pid: int, stage: str) -> None:
    """Until the runner with that pid is that far."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        now = [jobs.get(job_id) for job_id in job_ids]
        if all(job.state.final for job in now):
            return
        mine = [member for member in jobs.presence.all() if member.pid == pid]
        if stage == "early" and mine:
            return
        if stage == "released" and any("ended with its runner" in _last_why(jobs, job.id) for job in now):
            return
        if stage == "claimed" and mine and any(job.runner == mine[0].id for job in now):
            return
        time.sleep(0.005)
    raise AssertionError(f"no recovery within 30 s: {[jobs.get(job_id).state for job_id in job_ids]}")


def _last_why(jobs: Jobs, job_id: str) -> str:
    events = [event for event in jobs.events(job_id, limit=1000) if event.type == "state"]
    return str(events[-1].data["why"])
