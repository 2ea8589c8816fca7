"""Jobs through the SDK: one suite, in process and over HTTP, with real child processes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmos import LLMOS, AsyncLLMOS, errors
from llmos.access.audit import Audit
from llmos.access.secret import Secret
from llmos.infra.database import open_database
from llmos.kernel.base import JobEvent, JobState
from llmos.sdk.jobs import JobHandle
from llmos.sdk.local import LocalTransport
from llmos.settings import Settings
from tests.hub.server import Hub
from tests.jobs import free_port, know_count, serving

LONG = 100_000


@dataclass(frozen=True)
class Place:
    """Where jobs are run: this process (url None), or a server."""

    url: str | None
    home: Path

    def open(self) -> LLMOS:
        return LLMOS(self.url, home=self.home, notify=lambda _: None)


@pytest.fixture(scope="session")
def jobs_env(plugin_site: Path, hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    added = {"PYTHONPATH": str(plugin_site), "HF_HOME": str(tmp_path_factory.mktemp("hf")), "HF_ENDPOINT": hub.url}
    return os.environ | added | {"LLMOS_PROBE": "false", "LLMOS_ALLOW_PRIVATE_NETWORK": "true"}


@pytest.fixture(scope="session", autouse=True)
def _count_is_known_here(plugin_site: Path) -> None:
    know_count(plugin_site)


@pytest.fixture(scope="module", params=["in process", "over HTTP"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, jobs_env: dict[str, str]) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("jobs-home")
    if request.param == "in process":
        yield Place(None, home)
        return
    with serving(home, jobs_env) as url:
        yield Place(url, home)


@pytest.fixture(scope="module")
def llmos(place: Place) -> Iterator[LLMOS]:
    with place.open() as made:
        yield made


def until(job: JobHandle, state: JobState, *, done: float = 0) -> None:
    for _ in range(600):
        job.refresh()
        if job.state is state and job.progress.done >= done:
            return
        assert not job.state.final, (job.state, job.error)
        time.sleep(0.05)
    raise AssertionError(f"{job} is not {state} with {done} done: {job.progress}")


def until_over(job: JobHandle) -> None:
    with pytest.raises(errors.JobFailed):
        job.wait(timeout_s=60)


def test_a_job_runs_to_its_result(llmos: LLMOS) -> None:
    seen: list[JobEvent] = []
    job = llmos.jobs.submit("count", {"to": 25}, labels={"team": "a"})
    assert job.state is JobState.QUEUED and job.kind == "count" and job.labels == {"team": "a"} and job.result is None
    result = job.wait(timeout_s=60, on_event=seen.append)
    assert result == job.result == {"counted": 25, "began_at": 1, "attempt": 1}
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert [event.data["state"] for event in seen if event.type == "state"] == ["queued", "running", "succeeded"]
    assert {"log", "progress", "checkpoint", "metric", "artefact"} <= {event.type for event in seen}
    assert job.progress.done == job.progress.total == 25 and job.error is None
    assert list(job.events(after=seen[-2].seq)) == seen[-1:]
    assert list(job.events(after=seen[-1].seq)) == []
    assert job.wait() == result


def test_a_failure_says_what_to_do(llmos: LLMOS) -> None:
    with pytest.raises(errors.JobFailed, match="told to fail at 3") as failed:
        llmos.jobs.submit("count", {"to": 5, "fail_at": 3}, wait=True)
    assert failed.value.job_code == "invalid_value" and failed.value.hint == "Leave fail_at out."
    job = llmos.jobs.get(failed.value.job_id)
    assert job.state is JobState.FAILED and job.error is not None and job.error.param == "params.fail_at"
    assert job.record.attempt == 1  # the user's own error is not tried again


def test_pause_and_resume_go_on_from_the_checkpoint(llmos: LLMOS) -> None:
    job = llmos.jobs.submit("count", {"to": 60, "pause_s": 0.02})
    until(job, JobState.RUNNING, done=20)
    job.pause()
    until(job, JobState.PAUSED)
    with pytest.raises(errors.DeadlineExceeded, match="It goes on"):
        job.wait(timeout_s=0.3)
    job.resume()
    result = job.wait(timeout_s=60)
    assert result["counted"] == 60 and result["attempt"] == 2 and result["began_at"] > 20


def test_what_was_done_is_in_the_audit_log(place: Place, llmos: LLMOS) -> None:
    job = llmos.jobs.submit("count", {"to": LONG, "pause_s": 0.01})
    job.pause()
    job.cancel()
    until_over(job)
    job.remove()
    settings = Settings.from_env(home=place.home)
    database = open_database(settings)
    try:
        rows = [row for row in Audit(database, Secret.of(settings), place.home).list(limit=50) if row.target == job.id]
    finally:
        database.close()
    assert {row.action for row in rows} >= {"jobs.pause", "jobs.cancel", "jobs.remove"}


def test_cancel_ends_a_running_job_and_what_waits_for_it(llmos: LLMOS) -> None:
    job = llmos.jobs.submit("count", {"to": LONG, "pause_s": 0.01})
    after = llmos.jobs.submit("count", {"to": 1}, depends_on=[job])
    assert after.record.waits_for == (job.id,)
    until(job, JobState.RUNNING, done=1)
    job.cancel()
    with pytest.raises(errors.JobFailed, match="cancelled") as failed:
        job.wait(timeout_s=60)
    assert failed.value.job_code == "cancelled"
    with pytest.raises(errors.JobFailed) as failed:
        after.wait(timeout_s=60)
    assert failed.value.job_code == "dependency_failed"
    with pytest.raises(errors.Conflict):
        job.pause()
    after.remove()
    job.remove()
    with pytest.raises(errors.NotFound):
        job.refresh()


def test_dependencies_run_in_order(llmos: LLMOS) -> None:
    first = llmos.jobs.submit("count", {"to": 30, "pause_s": 0.02})
    second = llmos.jobs.submit("count", {"to": 1}, depends_on=[first.id])
    second.wait(timeout_s=60)
    assert first.refresh().state is JobState.SUCCEEDED
    assert str(second.record.started_at) >= str(first.record.finished_at)


def test_the_same_key_gives_the_same_job(llmos: LLMOS) -> None:
    first = llmos.jobs.submit("count", {"to": 2}, idempotency_key="once")
    again = llmos.jobs.submit("count", {"to": 2}, idempotency_key="once")
    assert first.id == again.id
    with pytest.raises(errors.Conflict, match="once"):
        llmos.jobs.submit("count", {"to": 3}, idempotency_key="once")


def test_lists_filter_and_page(llmos: LLMOS) -> None:
    made = [
        llmos.jobs.submit("count", {"to": 1}, labels={"group": "listed", "number": str(number)}, wait=True) for number in range(3)
    ]
    ids = [job.id for job in reversed(made)]
    assert [job.id for job in llmos.jobs.list(labels={"group": "listed"})] == ids
    assert [job.id for job in llmos.jobs.list(labels={"group": "listed", "number": "1"})] == [made[1].id]
    page = llmos.jobs.list(labels={"group": "listed"}, limit=2)
    assert [job.id for job in page] == ids[:2]
    assert [job.id for job in llmos.jobs.list(labels={"group": "listed"}, limit=2, before=page[-1])] == ids[2:]
    assert llmos.jobs.list(labels={"group": "listed"}, state="failed") == []
    assert {job.id for job in llmos.jobs.list(labels={"group": "listed"}, state=["failed", JobState.SUCCEEDED])} == set(ids)
    assert llmos.jobs.list(kind="pull", labels={"group": "listed"}) == []


@pytest.mark.parametrize(
    ("kind", "params", "options", "error", "param"),
    [
        ("cuont", {}, {}, errors.NotFound, "kind"),
        ("count", {"to": 0}, {}, errors.InvalidValue, "params.to"),
        ("count", {"to": 1, "form": 2}, {}, errors.InvalidValue, "params.form"),
        ("count", {"to": 1}, {"priority": "urgent"}, errors.InvalidValue, "priority"),
        ("count", {"to": 1}, {"deadline_s": -1}, errors.InvalidValue, "deadline_s"),
        ("count", {"to": 1}, {"depends_on": ["job_none"]}, errors.NotFound, "depends_on"),
    ],
)
def test_mistakes_name_the_field(
    llmos: LLMOS, kind: str, params: dict[str, object], options: dict[str, object], error: type[errors.LLMOSError], param: str
) -> None:
    with pytest.raises(error) as refused:
        llmos.jobs.submit(kind, params, **options)  # type: ignore[arg-type]  # mistakes under test
    assert refused.value.param == param, refused.value
    if kind == "cuont":
        assert "count" in str(refused.value)


def test_unknown_jobs_and_states(llmos: LLMOS) -> None:
    for call in (llmos.jobs.get, llmos.jobs._calls.remove, lambda job_id: llmos.jobs._calls.steer(job_id, "pause")):
        with pytest.raises(errors.NotFound, match="job_nothing"):
            call("job_nothing")
    with pytest.raises(errors.NotFound):
        next(llmos.jobs._calls.follow("job_nothing", after=0))
    with pytest.raises(errors.InvalidValue, match="runing"):
        llmos.jobs.list(state="runing")


def test_a_deadline_ends_it(llmos: LLMOS) -> None:
    with pytest.raises(errors.JobFailed) as failed:
        llmos.jobs.submit("count", {"to": LONG, "pause_s": 0.01}, deadline_s=1, wait=True)
    assert failed.value.job_code == "deadline_exceeded"


def test_status_shows_the_machine_and_the_job(llmos: LLMOS) -> None:
    job = llmos.jobs.submit("count", {"to": LONG, "pause_s": 0.01})
    until(job, JobState.RUNNING, done=1)
    status = llmos.status()
    assert job.id in [row.id for row in status.jobs] and status.counts["running"] >= 1
    assert status.machine.cores >= 1 and 0 < status.machine.available_bytes <= status.machine.memory_bytes
    assert any(runner.alive for runner in status.runners)
    job.cancel()
    with pytest.raises(errors.JobFailed):
        job.wait(timeout_s=60)


async def test_async_twin(place: Place) -> None:
    async with AsyncLLMOS(place.url, home=place.home, notify=lambda _: None) as llmos:
        job = await llmos.jobs.submit("count", {"to": 25})
        types = [event.type async for event in job]
        assert types[0] == "state" and types[-1] == "state" and "progress" in types
        assert (await job.wait())["counted"] == 25
        several = [await llmos.jobs.submit("count", {"to": 5}, labels={"of": "async"}) for _ in range(3)]
        results = await asyncio.gather(*(one.wait(timeout_s=60) for one in several))
        assert [result["counted"] for result in results] == [5, 5, 5]
        assert [one.id for one in await llmos.jobs.list(labels={"of": "async"})] == [one.id for one in reversed(several)]
        assert (await llmos.jobs.get(several[0].id)).state is JobState.SUCCEEDED
        await several[0].remove()
        with pytest.raises(errors.NotFound):
            await several[0].refresh()


async def test_leaving_an_async_stream_leaves_nothing_behind(place: Place) -> None:
    async with AsyncLLMOS(place.url, home=place.home, notify=lambda _: None) as llmos:
        job = await llmos.jobs.submit("count", {"to": LONG, "pause_s": 0.01})
        task = asyncio.create_task(job.wait())
        async for event in job:
            if event.type == "progress":
                break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        paused = await job.pause()
        assert paused.id == job.id
        await job.resume()
        await job.cancel()
        with pytest.raises(errors.JobFailed):
            await job.wait(timeout_s=60)


@pytest.mark.parametrize("place_of_it", ["in process", "over HTTP"])
def test_a_pull_is_a_job(place_of_it: str, tmp_path: Path, jobs_env: dict[str, str], hub: Hub) -> None:
    if place_of_it == "in process":
        env = {"LLMOS_HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.url, "LLMOS_PROBE": "0"}
        with LLMOS(transport=LocalTransport(Settings.from_env(env), lambda _: None)) as llmos:
            check_pull(llmos)
        return
    with serving(tmp_path, jobs_env) as url, LLMOS(url, home=tmp_path) as llmos:
        check_pull(llmos)
        for kind, params in (("import", {"path": "/etc"}), ("pull", {"model": "file:/etc"})):
            with pytest.raises(errors.InvalidValue, match="disk") as refused:
                llmos.jobs.submit(kind, params)
            assert str(refused.value.param).startswith("params.")


def check_pull(llmos: LLMOS) -> None:
    job = llmos.jobs.submit("pull", {"model": "hf:google-bert/bert-base-uncased"})
    result = job.wait(timeout_s=120)
    assert result["name"] == "bert-base-uncased" and result["size_bytes"] > 0
    assert "bert-base-uncased" in [card.name for card in llmos.models()]
    assert [event.data["model"] for event in job if event.type == "artefact"] == [result["model"]]
    with pytest.raises(errors.JobFailed) as failed:
        llmos.jobs.submit("pull", {"model": "hf:google-bert/no-such-model"}, wait=True)
    assert failed.value.job_code == "permission_denied"  # what a hub says of what it does not have


def test_an_import_is_a_job(llmos: LLMOS, place: Place, asset: Callable[[str], Path]) -> None:
    if place.url is not None:
        pytest.skip("a server imports nothing for a client")
    path = next(asset("smollm2").glob("*.gguf"))
    seen: list[JobEvent] = []
    result = llmos.jobs.submit("import", {"path": str(path), "name": "mine"}).wait(timeout_s=120, on_event=seen.append)
    assert result["name"] == "mine" and llmos.show("mine").ref == result["model"]
    progress = [event.data for event in seen if event.type == "progress"]
    assert progress and progress[-1]["unit"] == "bytes"


def test_a_restart_of_the_server_is_survived(tmp_path: Path, jobs_env: dict[str, str]) -> None:
    """Who waits does not notice; the job goes on from its checkpoint."""
    port = free_port()
    with LLMOS(f"http://127.0.0.1:{port}", home=tmp_path) as llmos:
        with serving(tmp_path, jobs_env, port=port):
            job = llmos.jobs.submit("count", {"to": 150, "pause_s": 0.02})
            events = job.events()
            seen = [next(event for event in events if event.type == "checkpoint").seq]
        with serving(tmp_path, jobs_env, port=port):
            seen += [event.seq for event in events]
            result = job.wait()
    assert result["counted"] == 150 and result["attempt"] == 2 and result["began_at"] > 1
    assert seen == list(range(seen[0], seen[-1] + 1))


def test_a_server_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    with LLMOS(f"http://127.0.0.1:{free_port()}", home=tmp_path) as llmos, pytest.raises(errors.Unreachable, match="llmos serve"):
        next(llmos.jobs._calls.follow("job_x", after=0))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_in_process_on_postgresql(tmp_path: Path, database_url: str) -> None:
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path), "LLMOS_DATABASE_URL": database_url})
    async with AsyncLLMOS(transport=LocalTransport(settings, lambda _: None)) as llmos:
        job = await llmos.jobs.submit("count", {"to": 25})
        seen = [event.seq async for event in job]
        assert seen == list(range(1, len(seen) + 1))
        assert (await job.wait())["counted"] == 25


def test_what_a_process_leaves_the_next_one_finishes(tmp_path: Path, plugin_site: Path) -> None:
    with LLMOS(home=tmp_path, notify=lambda _: None) as llmos:
        job = llmos.jobs.submit("count", {"to": 80, "pause_s": 0.02})
        until(job, JobState.RUNNING, done=20)
    told: list[str] = []
    with LLMOS(home=tmp_path, notify=told.append) as llmos:
        again = llmos.jobs.get(job.id)
        assert again.state is JobState.QUEUED
        result = again.wait(timeout_s=60)
    assert result["attempt"] == 2 and result["began_at"] > 20
    assert ["this process does" in sentence for sentence in told] == [True]
