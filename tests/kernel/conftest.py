"""Fixtures of the kernel's tests: a database of each kind, runners that are closed whatever happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest

import tests.kernel.kinds  # noqa: F401  # registers them
from llmos.infra.database import Database
from llmos.kernel.base import Job, JobState
from llmos.kernel.jobs import Jobs
from llmos.kernel.runner import Runner
from llmos.kernel.store import JobStore
from llmos.settings import Settings

PATIENCE_S = 60.0  # only a hang reaches it


class StartRunner(Protocol):
    def __call__(self, **options: Any) -> Runner: ...


@pytest.fixture
def store(database: Database) -> JobStore:
    return JobStore(database)


@pytest.fixture
def start_runner(settings: Settings, database: Database) -> Iterator[StartRunner]:
    """start_runner(**options of Runner) -> a started one."""
    runners: list[Runner] = []

    def start(**options: Any) -> Runner:
        runners.append(Runner(settings, database, **options))
        runners[-1].start()
        return runners[-1]

    yield start
    for runner in runners:
        runner.close()


@pytest.fixture
def jobs(settings: Settings, database: Database, start_runner: StartRunner) -> Jobs:
    """With a runner at work."""
    return Jobs(settings, database, runner=start_runner())


def until(condition: Callable[[], bool], what: str = "it", patience_s: float = PATIENCE_S) -> None:
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {patience_s:g} s"
        time.sleep(0.01)


def ended(jobs: Jobs, job_id: str, patience_s: float = PATIENCE_S) -> Job:
    """The job once it is over, whatever its end."""
    until(lambda: jobs.get(job_id).state.final, f"the end of {jobs.get(job_id)}", patience_s)
    return jobs.get(job_id)


def begun(jobs: Jobs, job_id: str, patience_s: float = PATIENCE_S) -> int:
    """Waits until a job of the kinds that say so has begun. Its pid."""

    def pids() -> list[int]:
        texts = [str(event.data.get("text")) for event in jobs.events(job_id) if event.type == "log"]
        return [int(text.removeprefix("pid ")) for text in texts if text.startswith("pid ")]

    until(lambda: bool(pids()), f"the beginning of {job_id}", patience_s)
    return pids()[-1]


def whys(jobs: Jobs, job_id: str) -> list[tuple[JobState, str]]:
    """The states it went through, with their reasons."""
    events = jobs.events(job_id, limit=1000)
    return [(JobState(event.data["state"]), event.data["why"]) for event in events if event.type == "state"]
