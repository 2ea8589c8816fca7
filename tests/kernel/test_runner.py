"""Jobs in real child processes, on both databases: outcomes, retries, cancelling, pausing, deadlines, limits, output, draining."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from llmos.errors import JobFailed
from llmos.infra.database import Database
from llmos.kernel.base import JobSpec, JobState, Priority, Resources, Retry
from llmos.kernel.budget import MemoryBudget
from llmos.kernel.jobs import Jobs
from llmos.kernel.presence import Presence
from llmos.settings import Settings
from tests.kernel.conftest import StartRunner, begun, ended, until, whys

QUICK = Retry(attempts=3, backoff_s=0.05)
once = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # nothing in it depends on the kind of the database


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_job_runs_and_is_recorded(jobs: Jobs) -> None:
    job = jobs.submit(JobSpec(kind="test-work", params={"steps": 4}))
    done = jobs.wait(job.id, timeout_s=60)
    assert (done.result, done.attempt, done.progress.done) == ({"steps": 4, "sum": 10}, 1, 4)
    assert done.checkpoint == {"done": 4, "sum": 10}
    events = jobs.events(job.id)
    assert [event.data["checkpoint"]["done"] for event in events if event.type == "checkpoint"] == [1, 2, 3, 4]
    assert [state for state, _ in whys(jobs, job.id)] == ["queued", "running", "succeeded"]
    assert events[-1].data["state"] == "succeeded"


@pytest.mark.parametrize(
    ("error", "code", "attempts"),
    [
        ("InvalidValue", "invalid_value", 1),
        ("NotFound", "not_found", 1),
        ("status-404", "source_error", 1),
        ("CorruptFile", "model_file_corrupt", 1),
        ("Cancelled", "cancelled", 1),  # nobody asked for it
        ("crash", "crashed", 3),
        ("exit", "crashed", 3),
        ("StorageError", "storage_error", 3),
        ("OverCapacity", "over_capacity", 3),
        ("Unreachable", "source_unreachable", 3),
        ("EngineDied", "engine_died", 3),
        ("kill", "lost", 3),
    ],
)
def test_what_may_pass_is_tried_again(jobs: Jobs, error: str, code: str, attempts: int) -> None:
    job = jobs.submit(JobSpec(kind="test-fail", params={"error": error}, retry=QUICK))
    done = ended(jobs, job.id)
    assert done.state is JobState.FAILED and done.error is not None
    assert (done.error.code, done.attempt) == (code, attempts)
    if error not in ("crash", "exit", "kill", "status-404"):
        assert (done.error.message, done.error.param, done.error.hint) == ("it went wrong", "model", "Do it better.")
    with pytest.raises(JobFailed) as caught:
        jobs.wait(job.id)
    assert (caught.value.job_code, caught.value.job_id) == (code, job.id)
    logs = [event.data["text"] for event in jobs.events(job.id) if event.type == "log"]
    assert any("ValueError: a bug" in text for text in logs) == (error == "crash")


def test_a_passing_failure_passes(jobs: Jobs) -> None:
    job = jobs.submit(JobSpec(kind="test-fail", params={"error": "StorageError", "times": 2}, retry=QUICK))
    done = ended(jobs, job.id)
    assert (done.result, done.failures) == ({"attempt": 3}, 2)


def test_cancel_a_running_job(jobs: Jobs) -> None:
    job = jobs.submit(JobSpec(kind="test-sleep"))
    pid = begun(jobs, job.id)
    jobs.cancel(job.id, actor="eva")
    done = ended(jobs, job.id)
    assert done.state is JobState.CANCELLED
    assert [why for _, why in whys(jobs, job.id)] == [
        "submitted",
        "attempt 1 starts",
        "cancellation asked for by eva",
        "cancelled",
    ]
    until(lambda: gone(pid), "the end of its process")
    with pytest.raises(JobFailed, match="cancelled"):
        jobs.wait(job.id)


@pytest.mark.parametrize("ignore_sigterm", [False, True])
@once
def test_a_deaf_job_is_ended_by_force(jobs: Jobs, ignore_sigterm: bool) -> None:
    job = jobs.submit(JobSpec(kind="test-deaf", params={"ignore_sigterm": ignore_sigterm}))
    pid = begun(jobs, job.id)
    began = time.monotonic()
    jobs.cancel(job.id)
    done = ended(jobs, job.id)
    assert (done.state, done.lost, done.failures) == (JobState.CANCELLED, 0, 0)
    assert time.monotonic() - began >= (9.0 if ignore_sigterm else 4.0), "it was given its time"
    assert gone(pid)


def test_pause_and_resume_go_on_from_the_checkpoint(jobs: Jobs, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    job = jobs.submit(JobSpec(kind="test-work", params={"steps": 60, "step_s": 0.02, "trace": str(trace)}))
    until(lambda: (jobs.get(job.id).checkpoint or {}).get("done", 0) >= 3, "a checkpoint")
    jobs.pause(job.id)
    until(lambda: jobs.get(job.id).state is JobState.PAUSED, "the pause")
    paused = jobs.get(job.id)
    assert paused.runner == "" and paused.checkpoint is not None
    jobs.resume(job.id)
    done = ended(jobs, job.id)
    assert done.result == {"steps": 60, "sum": 1830}
    assert [int(line.split()[1]) for line in trace.read_text().splitlines()] == list(range(1, 61)), "no step was done twice"
    assert (done.attempt, done.failures, done.lost) == (2, 0, 0)
    assert "begins again" not in " ".join(why for _, why in whys(jobs, job.id))


@once
def test_pause_of_a_kind_without_checkpoints_says_what_it_costs(jobs: Jobs) -> None:
    job = jobs.submit(JobSpec(kind="test-sleep", params={"seconds": 2}))
    begun(jobs, job.id)
    running = jobs.pause(job.id)
    assert jobs.starts_over(running)
    until(lambda: jobs.get(job.id).state is JobState.PAUSED, "the pause")
    assert any("its work begins again on resume" in why for _, why in whys(jobs, job.id))
    jobs.resume(job.id)
    assert ended(jobs, job.id).state is JobState.SUCCEEDED


def test_a_deadline_ends_a_running_job(jobs: Jobs) -> None:
    job = jobs.submit(JobSpec(kind="test-deaf", deadline_s=3.0))
    pid = begun(jobs, job.id)
    done = ended(jobs, job.id)
    assert done.state is JobState.FAILED and done.error is not None and done.error.code == "deadline_exceeded"
    until(lambda: gone(pid), "the end of its process")


def test_a_deadline_ends_a_queued_job(jobs: Jobs) -> None:
    blocker = jobs.submit(JobSpec(kind="test-sleep"))
    job = jobs.submit(JobSpec(kind="test-empty", depends_on=(blocker.id,), deadline_s=0.2))
    done = ended(jobs, job.id)
    assert done.error is not None and done.error.code == "deadline_exceeded"
    jobs.cancel(blocker.id)


def test_dependencies_run_in_order(jobs: Jobs) -> None:
    first = jobs.submit(JobSpec(kind="test-work", params={"steps": 3}))
    second = jobs.submit(JobSpec(kind="test-empty", depends_on=(first.id,)))
    third = jobs.submit(JobSpec(kind="test-empty", depends_on=(second.id, first.id)))
    assert jobs.wait(third.id, timeout_s=60).state is JobState.SUCCEEDED
    times = [jobs.get(job.id) for job in (first, second, third)]
    assert times[0].finished_at is not None and times[1].started_at is not None and times[1].finished_at is not None
    assert times[2].started_at is not None
    assert times[0].finished_at <= times[1].started_at <= times[1].finished_at <= times[2].started_at


def test_a_killed_child_is_noticed_and_the_job_goes_on(jobs: Jobs, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    params = {"steps": 6, "die_at": "after-save", "deaths": 2, "trace": str(trace)}
    done = ended(jobs, jobs.submit(JobSpec(kind="test-work", params=params)).id)
    assert (done.state, done.attempt, done.result) == (JobState.SUCCEEDED, 2, {"steps": 6, "sum": 21})
    assert [line.split()[1] for line in trace.read_text().splitlines()] == ["1", "2", "3", "4", "5", "6"]
    assert "SIGKILL" in " ".join(why for _, why in whys(jobs, done.id))


def test_three_losses_in_a_row_are_the_end(jobs: Jobs) -> None:
    done = ended(jobs, jobs.submit(JobSpec(kind="test-work", params={"die_at": "start", "deaths": 3})).id)
    assert (done.state, done.attempt, done.lost) == (JobState.FAILED, 3, 3)
    assert done.error is not None and done.error.code == "lost" and "SIGKILL" in done.error.message
    twice = ended(jobs, jobs.submit(JobSpec(kind="test-work", params={"die_at": "start", "deaths": 2})).id)
    assert (twice.state, twice.attempt) == (JobState.SUCCEEDED, 3)


@once
def test_what_a_job_prints_is_its_log(jobs: Jobs) -> None:
    for to, level in (("stdout", "info"), ("stderr", "warning"), ("log", "info")):
        job = ended(jobs, jobs.submit(JobSpec(kind="test-print", params={"to": to})).id)
        logs = [event.data for event in jobs.events(job.id) if event.type == "log"]
        assert [data["text"].split("x")[0] for data in logs] == [f"line {number} " for number in range(3)]
        assert {data["level"] for data in logs} == {level}


@once
def test_the_last_words_of_a_killed_process_are_kept(jobs: Jobs) -> None:
    job = ended(jobs, jobs.submit(JobSpec(kind="test-print", params={"then": "kill"}, retry=QUICK)).id)
    logs = [event.data["text"] for event in jobs.events(job.id) if event.type == "log" and event.attempt == 1]
    assert [text.split("x")[0] for text in logs] == [f"line {number} " for number in range(3)]


@pytest.mark.parametrize("to", ["stdout", "log"])
@once
def test_a_flood_of_output_is_cut_and_says_so(jobs: Jobs, to: str) -> None:
    job = ended(jobs, jobs.submit(JobSpec(kind="test-print", params={"lines": 50_000, "to": to})).id)
    assert job.state is JobState.SUCCEEDED
    logs: list[str] = []
    after = 0
    while events := jobs.events(job.id, after=after, limit=1000):
        logs += [event.data["text"] for event in events if event.type == "log"]
        after = events[-1].seq
    cut = [text for text in logs if "were cut here" in text]
    assert cut and 2000 <= len(logs) < 4000
    lost = sum(int(text.split()[0].replace(",", "")) for text in cut)
    assert lost + len(logs) - len(cut) == 50_000, "every line is there or counted"


@once
def test_a_job_over_its_memory_fails_and_says_so(jobs: Jobs) -> None:
    params = {"size_bytes": 1 << 30, "limit_bytes": 400 << 20}
    done = ended(jobs, jobs.submit(JobSpec(kind="test-eat", params=params)).id)
    assert done.error is not None and (done.error.code, done.attempt) == ("limit_exceeded", 1)
    assert "419,430,400" in done.error.message
    params["size_bytes"] = 100 << 20
    assert ended(jobs, jobs.submit(JobSpec(kind="test-eat", params=params)).id).state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("list", "invalid_value"),
        ("nan", "invalid_value"),
        ("huge", "invalid_value"),
        ("object", "invalid_value"),
        ("huge-save", "invalid_value"),
        ("huge-event", "invalid_value"),
        ("nan-progress", "invalid_value"),
    ],
)
@once
def test_a_kind_that_answers_nonsense_fails_with_the_reason(jobs: Jobs, what: str, code: str) -> None:
    done = ended(jobs, jobs.submit(JobSpec(kind="test-answer", params={"what": what})).id)
    assert done.error is not None and (done.error.code, done.attempt) == (code, 1)


@once
def test_a_metric_that_is_no_number_is_null(jobs: Jobs) -> None:
    done = ended(jobs, jobs.submit(JobSpec(kind="test-answer", params={"what": "nan-metric"})).id)
    assert [event.data["value"] for event in jobs.events(done.id) if event.type == "metric"] == [None]


@once
def test_text_that_is_no_text_comes_through(jobs: Jobs) -> None:
    done = ended(jobs, jobs.submit(JobSpec(kind="test-answer", params={"what": "odd-text"}, retry=Retry(attempts=1))).id)
    assert done.error is not None and (done.error.code, done.error.message) == ("crashed", "ValueError: half ?")
    assert "half ? [0m" in [event.data["text"] for event in jobs.events(done.id) if event.type == "log"]
    assert done.progress.message.startswith("half ?xxx") and len(done.progress.message) < 600


def test_an_error_on_the_way_out_does_not_keep_a_cancelled_job(jobs: Jobs) -> None:
    job = jobs.submit(JobSpec(kind="test-answer", params={"what": "swallow"}))
    until(lambda: jobs.get(job.id).state is JobState.RUNNING, "its start")
    jobs.cancel(job.id)
    assert ended(jobs, job.id).state is JobState.CANCELLED


@once
def test_processes_of_a_job_end_with_it(jobs: Jobs) -> None:
    job = jobs.submit(JobSpec(kind="test-parent"))
    until(lambda: any(event.type == "artefact" for event in jobs.events(job.id)), "its process")
    pid = next(event.data["pid"] for event in jobs.events(job.id) if event.type == "artefact")
    jobs.cancel(job.id)
    ended(jobs, job.id)
    until(lambda: gone(pid), "the end of the job's own process")


@once
def test_the_threads_of_a_job_are_its_cores(settings: Settings, database: Database, start_runner: StartRunner) -> None:
    jobs = Jobs(settings, database, runner=start_runner(cores=4))
    light = jobs.submit(JobSpec(kind="test-sleep", params={"seconds": 0}))
    heavy = jobs.submit(JobSpec(kind="test-sleep", params={"seconds": 0, "cores": 3}))
    assert jobs.wait(light.id, timeout_s=60).result == {"threads": "1", "num_threads": None}
    assert jobs.wait(heavy.id, timeout_s=60).result == {"threads": "3", "num_threads": 3}


@once
def test_a_job_gets_no_more_threads_than_there_are_cores(settings: Settings, database: Database, start_runner: StartRunner) -> None:
    jobs = Jobs(settings, database, runner=start_runner(cores=2))
    heavy = jobs.submit(JobSpec(kind="test-sleep", params={"seconds": 0, "cores": 64}))
    assert jobs.wait(heavy.id, timeout_s=60).result == {"threads": "2", "num_threads": 2}


@once
def test_sigterm_to_all_processes_costs_no_attempt(jobs: Jobs, tmp_path: Path) -> None:
    """As a service manager stops a service: the child hears it too, saves, and the job is not said to have failed."""
    job = jobs.submit(JobSpec(kind="test-sleep", params={"seconds": 2}))
    os.kill(begun(jobs, job.id), signal.SIGTERM)
    done = ended(jobs, job.id)
    assert (done.state, done.attempt, done.lost, done.failures) == (JobState.SUCCEEDED, 2, 0, 0)
    assert (JobState.QUEUED, "the service stops") in whys(jobs, job.id)


@once
def test_jobs_with_cores_take_turns_and_others_do_not_wait(
    settings: Settings, database: Database, start_runner: StartRunner
) -> None:
    runner = start_runner(cores=2)
    jobs = Jobs(settings, database, runner=runner)
    first = jobs.submit(JobSpec(kind="test-sleep", params={"cores": 2}))
    begun(jobs, first.id)
    second = jobs.submit(JobSpec(kind="test-sleep", params={"cores": 1, "seconds": 0}))
    light = jobs.submit(JobSpec(kind="test-sleep", params={"seconds": 0}))
    assert ended(jobs, light.id).state is JobState.SUCCEEDED
    assert jobs.get(second.id).state is JobState.QUEUED
    assert [view.job.id for view in runner.running()] == [first.id]
    until(lambda: runner.running()[0].memory_bytes > 1 << 20, "its memory")
    jobs.cancel(first.id)
    assert ended(jobs, second.id).state is JobState.SUCCEEDED


@once
def test_memory_is_reserved_and_freed(settings: Settings, database: Database, start_runner: StartRunner) -> None:
    budget = MemoryBudget(3 << 30)
    budget.reserve("engine", 1 << 30, "a model")
    jobs = Jobs(settings, database, runner=start_runner(budget=budget))
    first = jobs.submit(JobSpec(kind="test-sleep", params={"memory_bytes": 2 << 30}))
    begun(jobs, first.id)
    assert budget.free_bytes == 0
    waiting = jobs.submit(JobSpec(kind="test-sleep", params={"memory_bytes": 1 << 30, "seconds": 0}))
    never = jobs.submit(JobSpec(kind="test-sleep", params={"memory_bytes": 4 << 30}))
    error = ended(jobs, never.id).error
    assert error is not None and error.code == "over_capacity" and "4.29 GB" in error.message and "3.22 GB" in error.message
    assert jobs.get(waiting.id).state is JobState.QUEUED
    jobs.cancel(first.id)
    assert ended(jobs, waiting.id).state is JobState.SUCCEEDED
    until(lambda: budget.free_bytes == 2 << 30, "the free memory")


@once
def test_engines_make_room_for_a_job(settings: Settings, database: Database, start_runner: StartRunner) -> None:
    budget = MemoryBudget(3 << 30)
    budget.reserve("engine", 3 << 30, "a model")
    jobs = Jobs(settings, database, runner=start_runner(budget=budget, make_room=lambda size_bytes: budget.free("engine")))
    job = jobs.submit(JobSpec(kind="test-sleep", params={"memory_bytes": 2 << 30, "seconds": 0}))
    assert ended(jobs, job.id).state is JobState.SUCCEEDED


@once
def test_what_this_machine_lacks_is_refused_with_the_numbers(jobs: Jobs) -> None:
    disk = ended(jobs, jobs.submit(JobSpec(kind="test-empty", resources=Resources(disk_bytes=1 << 60))).id)
    assert disk.error is not None and disk.error.code == "storage_error" and "GB of disk" in disk.error.message
    gpus = ended(jobs, jobs.submit(JobSpec(kind="test-empty", resources=Resources(accelerators=64))).id)
    assert gpus.error is not None and "64 accelerators" in gpus.error.message


def test_urgent_jobs_go_first(settings: Settings, database: Database, start_runner: StartRunner) -> None:
    jobs = Jobs(settings, database)
    cores = Resources(cores=1)
    ids = {
        name: jobs.submit(JobSpec(kind="test-empty", priority=name, resources=cores)).id
        for name in (Priority.BATCH, Priority.NORMAL, Priority.INTERACTIVE)
    }
    start_runner(cores=1)
    done = {name: ended(jobs, job_id) for name, job_id in ids.items()}
    order = sorted(done, key=lambda name: done[name].started_at or "")
    assert order == [Priority.INTERACTIVE, Priority.NORMAL, Priority.BATCH]


def test_drain_gives_jobs_back_and_the_next_runner_goes_on(
    settings: Settings, database: Database, start_runner: StartRunner, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    runner = start_runner()
    jobs = Jobs(settings, database, runner=runner)
    job = jobs.submit(JobSpec(kind="test-work", params={"steps": 100, "step_s": 0.02, "trace": str(trace)}))
    deaf = jobs.submit(JobSpec(kind="test-sleep"))
    pid = begun(jobs, deaf.id)
    until(lambda: (jobs.get(job.id).checkpoint or {}).get("done", 0) >= 3, "a checkpoint")
    runner.drain()
    assert not runner.alive and gone(pid)
    for job_id in (job.id, deaf.id):
        now = jobs.get(job_id)
        assert (now.state, now.failures, now.lost, now.runner) == (JobState.QUEUED, 0, 0, "")
        assert whys(jobs, job_id)[-1][1] == "the service stops"
    assert Presence(database).all() == []
    jobs.cancel(deaf.id)
    start_runner()
    assert ended(jobs, job.id).result == {"steps": 100, "sum": 5050}
    assert [int(line.split()[1]) for line in trace.read_text().splitlines()] == list(range(1, 101))


@once
def test_drain_does_not_wait_for_the_deaf(settings: Settings, database: Database, start_runner: StartRunner) -> None:
    runner = start_runner()
    jobs = Jobs(settings, database, runner=runner)
    job = jobs.submit(JobSpec(kind="test-deaf"))
    pid = begun(jobs, job.id)
    began = time.monotonic()
    runner.drain(0.5)
    assert time.monotonic() - began < 10
    assert gone(pid)
    now = jobs.get(job.id)
    assert (now.state, now.lost, now.failures) == (JobState.QUEUED, 0, 0)


def test_a_stopped_child_loses_its_lease(settings: Settings, database: Database, start_runner: StartRunner) -> None:
    jobs = Jobs(settings, database, runner=start_runner(lease_s=3.0))
    job = jobs.submit(JobSpec(kind="test-sleep", params={"seconds": 2}))
    pid = begun(jobs, job.id)
    os.kill(pid, signal.SIGSTOP)
    done = ended(jobs, job.id)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 2)
    assert gone(pid)
    assert "was not heard of for 3 s" in " ".join(why for _, why in whys(jobs, job.id))


@once
def test_a_busy_child_keeps_its_lease(settings: Settings, database: Database, start_runner: StartRunner) -> None:
    """A job that is longer than the lease and says nothing."""
    jobs = Jobs(settings, database, runner=start_runner(lease_s=4.0))
    job = jobs.submit(JobSpec(kind="test-sleep", params={"seconds": 6}))
    assert ended(jobs, job.id).attempt == 1


def test_two_runners_share_a_queue(settings: Settings, database: Database, start_runner: StartRunner) -> None:
    start_runner()
    start_runner()
    jobs = Jobs(settings, database)
    ids = [jobs.submit(JobSpec(kind="test-work", params={"steps": 2})).id for _ in range(12)]
    done = [ended(jobs, job_id) for job_id in ids]
    assert {(job.state, job.attempt) for job in done} == {(JobState.SUCCEEDED, 1)}


def test_a_job_of_a_runner_that_is_gone_goes_on_at_once(settings: Settings, database: Database, start_runner: StartRunner) -> None:
    jobs = Jobs(settings, database)
    job = jobs.submit(JobSpec(kind="test-empty"))
    dead = Presence(database).enter({"shared": True})
    with database.begin() as connection:
        connection.exec_driver_sql('UPDATE runners SET facts = \'{"born": 1, "shared": true}\'')
    assert jobs.store.claim(job.id, dead) is not None
    start_runner()  # its lease would be 30 s
    done = ended(jobs, job.id)
    assert (done.state, done.attempt, done.lost) == (JobState.SUCCEEDED, 2, 0)
    until(lambda: dead not in {member.id for member in Presence(database).all()}, "its row to go")


def test_a_lease_of_another_machine_ends_when_its_beat_stands_still(
    settings: Settings, database: Database, start_runner: StartRunner
) -> None:
    jobs = Jobs(settings, database)
    silent, alive = (jobs.submit(JobSpec(kind="test-empty")) for _ in range(2))
    other = Presence(database).enter({"shared": True})
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE runners SET host = 'another machine'")
    for job in (silent, alive):
        assert jobs.store.claim(job.id, other) is not None
    start_runner(lease_s=4.0)
    while not jobs.get(silent.id).state.final:
        jobs.store.beat([(alive.id, 1)])
        time.sleep(0.1)
    assert (jobs.get(silent.id).state, jobs.get(silent.id).attempt) == (JobState.SUCCEEDED, 2)
    assert (jobs.get(alive.id).state, jobs.get(alive.id).attempt) == (JobState.RUNNING, 1)


def test_a_runner_that_was_taken_for_dead_comes_back(settings: Settings, database: Database, start_runner: StartRunner) -> None:
    """Its row is gone, its attempts are not: nobody claimed them."""
    runner = start_runner(heartbeat_s=0.2)
    jobs = Jobs(settings, database, runner=runner)
    job = jobs.submit(JobSpec(kind="test-sleep", params={"seconds": 2}))
    begun(jobs, job.id)
    presence = Presence(database)
    presence.leave(runner.name)
    until(lambda: [member.id for member in presence.all()] == [runner.name], "its return")
    assert ended(jobs, job.id).attempt == 1


@once
def test_a_job_without_memory_is_not_held_up_by_one_that_lacks_it(
    settings: Settings, database: Database, start_runner: StartRunner
) -> None:
    """An engine that is in use keeps the memory: the job that needs it waits, the others do not."""
    budget = MemoryBudget(2 << 30)
    budget.reserve("engine", 2 << 30, "a model")
    jobs = Jobs(settings, database, runner=start_runner(budget=budget, make_room=lambda size_bytes: None))
    big = jobs.submit(JobSpec(kind="test-sleep", params={"memory_bytes": 1 << 30, "seconds": 0}))
    light = jobs.submit(JobSpec(kind="test-empty"))
    assert ended(jobs, light.id).state is JobState.SUCCEEDED
    assert jobs.get(big.id).state is JobState.QUEUED
    budget.free("engine")
    assert ended(jobs, big.id).state is JobState.SUCCEEDED
