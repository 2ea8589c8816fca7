"""The facade: what is checked at the door, waiting and following, running without a server, a database that goes away."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from llmos.errors import DeadlineExceeded, InvalidValue, JobFailed, NotFound
from llmos.infra.database import Database
from llmos.kernel.base import JobSpec, JobState, Resources
from llmos.kernel.executors.local import LocalExecutor
from llmos.kernel.jobs import Jobs
from llmos.kernel.presence import Presence
from llmos.settings import Settings
from tests.kernel.conftest import StartRunner, begun, ended, until


@pytest.fixture
def idle(settings: Settings, database: Database) -> Jobs:
    """Without a runner."""
    return Jobs(settings, database)


def test_an_unknown_kind_is_refused_with_the_nearest(idle: Jobs) -> None:
    with pytest.raises(NotFound, match="pull"):
        idle.submit(JobSpec(kind="pul"))


@pytest.mark.parametrize(
    ("params", "field", "told"),
    [
        ({"steps": "many"}, "params.steps", "integer"),
        ({"stepps": 3}, "params.stepps", "steps"),
        ({"victim": "both"}, "params.victim", "child"),
    ],
)
def test_a_bad_parameter_is_named(idle: Jobs, params: dict[str, object], field: str, told: str) -> None:
    with pytest.raises(InvalidValue, match=told) as caught:
        idle.submit(JobSpec(kind="test-work", params=params))
    assert caught.value.param == field
    assert idle.list() == []


def test_parameters_are_completed_and_resources_come_from_the_kind(idle: Jobs) -> None:
    job = idle.submit(JobSpec(kind="test-sleep", params={"cores": 2}))
    assert job.params == {"cores": 2, "memory_bytes": 0, "seconds": 60.0}
    assert job.resources == Resources(cores=2)
    own = idle.submit(JobSpec(kind="test-sleep", params={"cores": 2}, resources=Resources(cores=1)))
    assert own.resources == Resources(cores=1)


def test_wait_raises_what_went_wrong(jobs: Jobs) -> None:
    job = jobs.submit(JobSpec(kind="test-fail", params={"error": "NotFound"}))
    with pytest.raises(JobFailed, match="it went wrong") as caught:
        jobs.wait(job.id, timeout_s=60)
    assert (caught.value.job_code, caught.value.param, caught.value.hint) == ("not_found", "model", "Do it better.")
    with pytest.raises(NotFound):
        jobs.wait("job_unknown")
    with pytest.raises(NotFound):
        jobs.wait(job.id, project="another")


def test_wait_gives_up_after_its_time_and_the_job_goes_on(jobs: Jobs) -> None:
    job = jobs.submit(JobSpec(kind="test-sleep"))
    with pytest.raises(DeadlineExceeded):
        jobs.wait(job.id, timeout_s=0.2)
    assert not jobs.get(job.id).state.final
    jobs.cancel(job.id)


def test_follow_gives_every_event_once_and_ends_with_the_job(jobs: Jobs) -> None:
    job = jobs.submit(JobSpec(kind="test-work", params={"steps": 8, "step_s": 0.05}))
    seen = list(jobs.follow(job.id))
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert seen == jobs.events(job.id, limit=1000)
    assert seen[-1].data["state"] == "succeeded"
    assert list(jobs.follow(job.id, after=seen[-2].seq)) == seen[-1:]
    with pytest.raises(NotFound):
        next(iter(jobs.follow("job_unknown")))


def test_a_removed_job_takes_its_folder_along(jobs: Jobs, settings: Settings) -> None:
    job = jobs.submit(JobSpec(kind="test-work", params={"steps": 2}))
    jobs.wait(job.id, timeout_s=60)
    folder = settings.home / "jobs" / job.id
    assert folder.is_dir()
    jobs.remove(job.id)
    assert not folder.exists()
    with pytest.raises(NotFound):
        jobs.get(job.id)


def test_without_a_server_the_process_runs_its_own_jobs_and_no_others(idle: Jobs, settings: Settings, database: Database) -> None:
    stranger = Jobs(settings, database).submit(JobSpec(kind="test-empty"))
    needed = idle.submit(JobSpec(kind="test-empty"))
    job = idle.submit(JobSpec(kind="test-empty", depends_on=(needed.id,)))
    assert not idle.runs_here()
    assert idle.wait(job.id, timeout_s=60).state is JobState.SUCCEEDED
    assert idle.get(stranger.id).state is JobState.QUEUED
    assert not idle.runs_here(), "it runs nobody else's jobs"
    assert idle.wait(stranger.id, timeout_s=60).state is JobState.SUCCEEDED, "waiting for a job adopts it"
    idle.close()
    assert Presence(database).all() == []


def test_where_a_server_runs_the_process_only_waits(idle: Jobs, start_runner: StartRunner, database: Database) -> None:
    start_runner()
    until(idle.runs_here, "the server's runner")
    job = idle.submit(JobSpec(kind="test-empty"))
    assert idle.ensure_runner(job.id) is None
    assert idle.wait(job.id, timeout_s=60).attempt == 1
    assert len(Presence(database).all()) == 1


def test_a_runner_of_another_machine_counts_while_it_beats(idle: Jobs, database: Database) -> None:
    presence = Presence(database)
    name = presence.enter({"shared": True})
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE runners SET host = 'another machine'")
    assert not idle.runs_here(), "it stands still"
    over = threading.Event()

    def beat() -> None:
        while not over.wait(0.2):
            presence.beat(name)

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        assert idle.runs_here()
    finally:
        over.set()
        beating.join()


def test_a_dead_process_is_no_runner(idle: Jobs, database: Database, settings: Settings, database_url: str) -> None:
    code = (
        "import os, sys\n"
        "from llmos.infra.database import Database\n"
        "from llmos.kernel.presence import Presence\n"
        "presence = Presence(Database(sys.argv[1]))\n"
        "presence.enter({'shared': True})\n"
        "assert presence.somebody_serves()\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", code, database_url], check=True)
    assert len(Presence(database).all()) == 1
    assert not idle.runs_here()


def test_children_die_with_their_runner(settings: Settings, database: Database, database_url: str, idle: Jobs) -> None:
    job = idle.submit(JobSpec(kind="test-sleep"))
    code = (
        "import sys, time\n"
        "import tests.kernel.kinds\n"
        "from llmos.infra.database import Database\n"
        "from llmos.kernel.runner import Runner\n"
        "from llmos.settings import Settings\n"
        "Runner(Settings.from_env({'LLMOS_HOME': sys.argv[2]}), Database(sys.argv[1])).start()\n"
        "time.sleep(600)\n"
    )
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", code, database_url, str(settings.home)], cwd=root) as process:
        pid = begun(idle, job.id)
        process.kill()
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, "the end of the child")
    assert idle.get(job.id).state is JobState.RUNNING


def test_the_spare_is_used_and_does_not_stay(settings: Settings, database: Database, start_runner: StartRunner) -> None:
    jobs = Jobs(settings, database, runner=start_runner(executor=LocalExecutor(spare_s=1.0)))
    before = {child.pid for child in psutil.Process().children()}
    jobs.wait(jobs.submit(JobSpec(kind="test-empty")).id, timeout_s=60)

    def is_spare(child: psutil.Process) -> bool:
        try:
            return child.pid not in before and "llmos.kernel.child" in child.cmdline()
        except psutil.Error:  # it has just ended
            return False

    def spares() -> list[psutil.Process]:
        return [child for child in psutil.Process().children() if is_spare(child)]

    until(lambda: len(spares()) == 1, "the spare")
    spare = spares()[0].pid
    job = jobs.submit(JobSpec(kind="test-sleep", params={"seconds": 0}))
    assert begun(jobs, job.id) == spare
    ended(jobs, job.id)
    until(lambda: not spares(), "the end of the last spare")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has no connection to lose
def test_a_database_that_goes_away_loses_nothing(
    settings: Settings, database_url: str, start_runner: StartRunner, tmp_path: Path
) -> None:
    """All connections are cut again and again while jobs run."""
    database = Database(database_url)
    database.migrate()
    trace = tmp_path / "trace"
    jobs = Jobs(settings, database)
    start_runner()
    ids = [jobs.submit(JobSpec(kind="test-work", params={"steps": 40, "step_s": 0.02, "trace": str(trace)})).id for _ in range(3)]
    until(lambda: all(jobs.get(job_id).checkpoint for job_id in ids), "checkpoints")
    cutter = sa.create_engine(sa.make_url(database_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    cut = sa.text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
    )
    database.close()
    for _ in range(15):
        with cutter.connect() as connection:
            connection.execute(cut)
        time.sleep(0.1)
    cutter.dispose()
    database = Database(database_url)
    jobs = Jobs(settings, database)
    done = [ended(jobs, job_id) for job_id in ids]
    assert [(job.state, job.attempt, job.result) for job in done] == [(JobState.SUCCEEDED, 1, {"steps": 40, "sum": 820})] * 3
    assert len(trace.read_text().splitlines()) == 120, "no step was done twice"
    database.close()


def test_settings_reach_the_child(settings: Settings, database: Database, start_runner: StartRunner) -> None:
    """Those of the runner, not those that the environment of the child would give."""
    jobs = Jobs(settings, database, runner=start_runner())
    job = jobs.submit(JobSpec(kind="test-work", params={"steps": 1}))
    jobs.wait(job.id, timeout_s=60)
    assert (settings.home / "jobs" / job.id).is_dir()
    assert os.environ.get("LLMOS_HOME") != str(settings.home)
