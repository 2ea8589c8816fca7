"""Jobs on a real Ray cluster of two nodes: the same results as here, and nothing lost with a node, a driver or a runner."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmos.errors import InvalidValue
from llmos.infra.database import Database
from llmos.kernel.base import Job, JobError, JobSpec, JobState, Resources
from llmos.kernel.executors.local import LocalExecutor
from llmos.kernel.executors.ray import RayExecutor, custom_resources
from llmos.kernel.jobs import Jobs
from llmos.kernel.runner import Runner
from llmos.settings import Settings
from tests.kernel import conftest
from tests.kernel.conftest import whys
from tests.kernel.ray_cluster import Cluster

ONE_CORE = Resources(cores=1)
pytestmark = pytest.mark.timeout(600)
PATIENCE_S = 240.0  # starting Python and Ray takes seconds, many of them on a busy machine
until = partial(conftest.until, patience_s=PATIENCE_S)
begun = partial(conftest.begun, patience_s=PATIENCE_S)
ended = partial(conftest.ended, patience_s=PATIENCE_S)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Settings:
    folder = tmp_path_factory.mktemp("home")
    return Settings.from_env({"LLMOS_HOME": str(folder), "HF_HOME": str(folder / "hf"), "LLMOS_RAY_ADDRESS": cluster.address})


@pytest.fixture(scope="module")
def shared(home: Settings) -> Iterator[Database]:
    database = Database(f"sqlite:///{home.home / 'db.sqlite3'}")
    database.migrate()
    yield database
    database.close()


@pytest.fixture(scope="module")
def jobs(home: Settings, shared: Database) -> Iterator[Jobs]:
    """With one runner, which takes the cluster from the settings; its driver is started by the first job."""
    runner = Runner(home, shared)
    runner.start()
    yield Jobs(home, shared, runner=runner)
    runner.close()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Database]:
    """Another database, for a test that has a runner of its own."""
    database = Database(f"sqlite:///{tmp_path / 'db.sqlite3'}")
    database.migrate()
    yield database
    database.close()


def work(jobs: Jobs, steps: int, step_s: float, trace: Path) -> Job:
    params = {"steps": steps, "step_s": step_s, "trace": str(trace)}
    return jobs.submit(JobSpec(kind="test-work", params=params, resources=ONE_CORE))


def lines(trace: Path) -> list[tuple[int, int]]:
    """Of each step that was done: the attempt and the step's number."""
    if not trace.exists():
        return []
    return [(int(attempt), int(step)) for attempt, step in (line.split() for line in trace.read_text().splitlines())]


def history(jobs: Jobs, job_id: str) -> list[tuple[str, dict[str, Any]]]:
    return [(event.type, event.data) for event in jobs.events(job_id, limit=1000) if event.type not in ("progress", "metric")]


def drivers() -> list[psutil.Process]:
    """The drivers that this process has started."""
    found = psutil.Process().children(recursive=True)
    return [process for process in found if "llmos.kernel.executors.ray_driver" in " ".join(process.cmdline())]


def is_gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


# -- without a cluster -------------------------------------------------------------------------------------------------
def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def test_ray_is_imported_by_nobody_in_the_runner_s_process() -> None:
    code = "import sys, llmos, llmos.kernel.runner, llmos.kernel.executors.ray; print('ray' in sys.modules)"
    assert run_python(code) == "False"


def test_without_ray_the_message_is_the_command() -> None:
    code = """
import sys
sys.modules["ray"] = None  # what Python itself takes as "not installed"
from llmos.errors import MissingExtra
from llmos.kernel.executors.ray import RayExecutor
from llmos.settings import Settings
try:
    RayExecutor(Settings.from_env({"LLMOS_RAY_ADDRESS": "127.0.0.1:6379"}))
except MissingExtra as problem:
    print(problem)
"""
    assert run_python(code) == (
        "LLMOS_RAY_ADDRESS needs the optional dependencies of the extra 'cluster'. Install them with: pip install 'llmos[cluster]'"
    )


@pytest.mark.parametrize("address", ["auto", "ray://head:10001", "head", "head:port", "head:6379/x"])
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    with pytest.raises(InvalidValue, match="LLMOS_RAY_ADDRESS"):
        Settings.from_env({"LLMOS_RAY_ADDRESS": address})


@pytest.mark.parametrize("listens", [False, True])
def test_an_address_that_does_not_answer_is_an_error_of_the_job(tmp_path: Path, alone: Database, listens: bool) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listens:
            silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        settings = Settings.from_env({"LLMOS_HOME": str(tmp_path / "home"), "LLMOS_RAY_ADDRESS": address})
        runner = Runner(settings, alone, executor=RayExecutor(settings, connect_s=6.0))
        runner.start()
        jobs = Jobs(settings, alone, runner=runner)
        job = jobs.submit(JobSpec(kind="test-empty"))
        until(lambda: any(f"The Ray cluster at {address}" in why for _, why in whys(jobs, job.id)), "the error")
        assert jobs.get(job.id).state is JobState.QUEUED  # it is tried again later
        assert jobs.get(job.id).failures == 1
        assert jobs.cancel(job.id).state is JobState.CANCELLED
        assert runner.alive
        runner.close()
    assert not drivers()


def test_a_job_is_cancelled_at_once_while_nobody_answers(tmp_path: Path, alone: Database) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        settings = Settings.from_env({"LLMOS_HOME": str(tmp_path / "home"), "LLMOS_RAY_ADDRESS": address})
        runner = Runner(settings, alone, executor=RayExecutor(settings, connect_s=600.0))
        runner.start()
        jobs = Jobs(settings, alone, runner=runner)
        job = jobs.submit(JobSpec(kind="test-empty"))
        until(lambda: jobs.get(job.id).state is JobState.RUNNING, "the start")
        jobs.cancel(job.id)
        assert ended(jobs, job.id).state is JobState.CANCELLED
        runner.close()
    assert not drivers()


@pytest.mark.parametrize("value", ["much", "0", "-1", "nan", "inf"])
def test_a_label_for_a_resource_is_a_positive_number(jobs_here: Jobs, value: str) -> None:
    job = jobs_here.submit(JobSpec(kind="test-empty", labels={"ray.tpu": value}))
    with pytest.raises(InvalidValue, match=r"ray\.tpu"):
        custom_resources(job)


def test_labels_ask_for_custom_resources(jobs_here: Jobs) -> None:
    job = jobs_here.submit(JobSpec(kind="test-empty", labels={"ray.tpu": "0.5", "team": "red"}))
    assert custom_resources(job) == {"tpu": 0.5}


@pytest.fixture
def jobs_here(settings: Settings, alone: Database) -> Jobs:
    """Nobody runs them."""
    return Jobs(settings, alone)


# -- with one ----------------------------------------------------------------------------------------------------------
def test_a_job_has_the_same_result_and_history_as_here(jobs: Jobs, tmp_path: Path, alone: Database, home: Settings) -> None:
    far = ended(jobs, work(jobs, 6, 0.01, tmp_path / "far").id)
    runner = Runner(home, alone, executor=LocalExecutor())
    runner.start()
    local = Jobs(home, alone, runner=runner)
    near = ended(local, work(local, 6, 0.01, tmp_path / "near").id)
    runner.close()
    assert (far.state, far.result, far.checkpoint, far.progress.done) == (
        near.state,
        near.result,
        near.checkpoint,
        near.progress.done,
    )
    assert far.result == {"steps": 6, "sum": 21}
    assert history(jobs, far.id) == history(local, near.id)
    assert lines(tmp_path / "far") == lines(tmp_path / "near")


def test_ends_and_output_are_as_they_are_here(jobs: Jobs, capfd: pytest.CaptureFixture[str]) -> None:
    wrong = jobs.submit(JobSpec(kind="test-fail", params={"error": "InvalidValue"}))
    prints = jobs.submit(JobSpec(kind="test-print", params={"lines": 3}))
    killed = jobs.submit(JobSpec(kind="test-sleep", params={"seconds": 1.0}))
    os.kill(begun(jobs, killed.id), signal.SIGKILL)
    failed = ended(jobs, wrong.id)
    assert failed.state is JobState.FAILED and failed.error is not None
    assert failed.error.code == "invalid_value"
    assert ended(jobs, prints.id).state is JobState.SUCCEEDED
    texts = [event.data["text"] for event in jobs.events(prints.id) if event.type == "log"]
    assert texts == [f"line {number} {'x' * 13}" for number in range(3)]
    again = ended(jobs, killed.id)
    assert (again.state, again.attempt) == (JobState.SUCCEEDED, 2)
    assert (JobState.QUEUED, "attempt 1: its process was ended by SIGKILL") in whys(jobs, killed.id)
    out, err = capfd.readouterr()
    assert "line 0" not in out + err and "ray" not in (out + err).lower()


def test_cancel_frees_the_core_it_asked_for(jobs: Jobs, cluster: Cluster) -> None:
    both = [jobs.submit(JobSpec(kind="test-sleep", resources=ONE_CORE)).id for _ in range(2)]
    pids = [begun(jobs, job_id) for job_id in both]
    assert {node.process.pid for node in cluster.nodes for pid in pids if node.runs(pid)} == {
        node.process.pid for node in cluster.nodes
    }
    more = Resources(cores=64)  # than any node has
    third = jobs.submit(JobSpec(kind="test-sleep", params={"seconds": 0.0}, resources=more)).id
    for job_id in both:
        jobs.cancel(job_id)
    assert [ended(jobs, job_id).state for job_id in both] == [JobState.CANCELLED] * 2
    until(lambda: all(is_gone(pid) for pid in pids), "the end of the processes")
    assert ended(jobs, third).result == {"threads": "1", "num_threads": 1}


def test_a_job_that_no_node_can_take_says_so_and_can_be_cancelled(jobs: Jobs) -> None:
    job = jobs.submit(JobSpec(kind="test-empty", resources=Resources(memory_bytes=1 << 50)))

    def said() -> list[str]:
        return [str(event.data.get("text")) for event in jobs.events(job.id) if event.type == "log"]

    until(lambda: bool(said()), "the word")
    assert "No node of the Ray cluster has 1.1259e+15 memory" in said()[0]
    jobs.cancel(job.id)
    assert ended(jobs, job.id).state is JobState.CANCELLED


def test_pause_and_resume_go_on_from_the_checkpoint(jobs: Jobs, tmp_path: Path) -> None:
    job = work(jobs, 40, 0.05, tmp_path / "trace")
    until(lambda: len(lines(tmp_path / "trace")) > 3, "some steps")
    jobs.pause(job.id)
    until(lambda: jobs.get(job.id).state is JobState.PAUSED, "the pause")
    before = lines(tmp_path / "trace")
    assert len(before) < 40
    jobs.resume(job.id)
    assert ended(jobs, job.id).result == {"steps": 40, "sum": 820}
    assert [step for _, step in lines(tmp_path / "trace")] == list(range(1, 41))
    assert lines(tmp_path / "trace")[len(before)] == (2, len(before) + 1)


def test_an_attempt_that_holds_its_job_no_more_is_killed(jobs: Jobs) -> None:
    job = jobs.submit(JobSpec(kind="test-deaf"))
    pid = begun(jobs, job.id)
    jobs.store.finish(job.id, 1, JobState.FAILED, error=JobError(code="test", message="taken away"))
    until(lambda: is_gone(pid), "the end of the process")


def test_a_node_with_another_home_refuses_the_job(home: Settings, alone: Database, tmp_path: Path) -> None:
    elsewhere = home.model_copy(update={"home": tmp_path / "elsewhere"})  # the marker is written there
    runner = Runner(home, alone, executor=RayExecutor(elsewhere))
    runner.start()
    jobs = Jobs(home, alone, runner=runner)
    job = ended(jobs, jobs.submit(JobSpec(kind="test-empty")).id)
    runner.close()
    assert job.state is JobState.FAILED and isinstance(job.error, JobError)
    assert "does not see the runner's home" in job.error.message and "LLMOS_HOME" in job.error.hint


@pytest.mark.slow
def test_when_the_driver_is_lost_jobs_go_on_with_the_next(jobs: Jobs, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    job = work(jobs, 60, 0.05, trace)
    until(lambda: len(lines(trace)) > 3, "some steps")
    for driver in drivers():
        driver.kill()
    done = ended(jobs, job.id)
    assert done.result == {"steps": 60, "sum": 1830}
    assert (done.attempt, done.failures, done.lost) == (2, 0, 0)


@pytest.mark.slow
def test_a_driver_that_is_stopped_loses_its_jobs_which_end_where_they_are(home: Settings, alone: Database, tmp_path: Path) -> None:
    runner = Runner(home, alone, executor=RayExecutor(home, silence_s=1.0), lease_s=10.0)
    runner.start()
    jobs = Jobs(home, alone, runner=runner)
    job = jobs.submit(JobSpec(kind="test-sleep", params={"seconds": 25.0}))
    pid = begun(jobs, job.id)
    (driver,) = [one for one in drivers() if one.cmdline()[-1] == "1.0"]
    driver.suspend()
    until(lambda: is_gone(pid), "the end of what nobody asks for")  # it ends by itself: no driver can tell it
    until(lambda: begun(jobs, job.id) != pid, "the next attempt")
    assert jobs.get(job.id).lost == 1
    pid = begun(jobs, job.id)
    runner.close()
    until(lambda: is_gone(pid), "the end of the process")
    assert is_gone(driver.pid)


RUNNER = """
import json, sys, time
sys.path.insert(0, sys.argv[2])
import tests.kernel.kinds
from llmos.infra.database import Database
from llmos.kernel.executors.ray import RayExecutor
from llmos.kernel.runner import Runner
from llmos.settings import Settings
settings = Settings.from_env(json.loads(sys.argv[1]))
runner = Runner(settings, Database(settings.database_url), executor=RayExecutor(settings))
runner.start()
time.sleep(600)
"""


@pytest.mark.slow
def test_when_the_runner_is_killed_its_attempts_end_and_the_next_one_goes_on(
    cluster: Cluster, home: Settings, alone: Database, tmp_path: Path
) -> None:
    env = {"LLMOS_HOME": str(home.home), "LLMOS_RAY_ADDRESS": cluster.address}
    env["LLMOS_DATABASE_URL"] = f"sqlite:///{tmp_path / 'db.sqlite3'}"
    jobs = Jobs(home, alone)
    trace = tmp_path / "trace"
    job = work(jobs, 60, 0.05, trace)
    first = subprocess.Popen([sys.executable, "-c", RUNNER, json.dumps(env), str(ROOT)])
    try:
        until(lambda: len(lines(trace)) > 5, "some steps")
    finally:
        first.kill()
        first.wait()
    second = Runner(home, alone, executor=RayExecutor(home))
    second.start()
    done = ended(Jobs(home, alone, runner=second), job.id)
    second.close()
    assert done.result == {"steps": 60, "sum": 1830}
    assert (done.attempt, done.lost) == (2, 0)
    steps = lines(trace)
    time.sleep(1.0)
    assert lines(trace) == steps  # nobody is left who works
    assert [attempt for attempt, _ in steps].count(1) < 60  # the first attempt ended before it was done


@pytest.mark.slow
def test_when_its_node_is_lost_a_job_goes_on_on_another(jobs: Jobs, cluster: Cluster, tmp_path: Path) -> None:
    """The last test: one node is left."""
    spec = JobSpec(kind="test-sleep", params={"seconds": 10.0}, resources=ONE_CORE, labels={"ray.head": "1"})
    first = jobs.submit(spec)  # keeps the head's core for itself for a while
    assert cluster.head.runs(begun(jobs, first.id))
    trace = tmp_path / "trace"
    job = work(jobs, 60, 0.05, trace)
    until(lambda: len(lines(trace)) > 5, "some steps")
    cluster.worker.kill()
    done = ended(jobs, job.id)
    assert done.result == {"steps": 60, "sum": 1830}
    assert (done.attempt, done.failures, done.lost) == (2, 0, 0)  # it is not the job's fault
    assert any("is gone from the cluster" in why for _, why in whys(jobs, job.id))
    steps = [step for _, step in lines(trace)]
    assert sorted(set(steps)) == list(range(1, 61)) and len(steps) <= 62  # what came after the last checkpoint is done again
    assert [state for state, _ in whys(jobs, job.id)].count(JobState.SUCCEEDED) == 1
    assert ended(jobs, first.id).attempt == 1
