"""Pulling and importing as jobs: progress, result, errors of the user's own, and cancelling in the middle of a download."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmos.errors import InvalidValue, JobFailed
from llmos.kernel.base import JobSpec, JobState
from llmos.kernel.jobs import Jobs
from llmos.kernel.runner import Runner
from llmos.library.library import Library
from tests.hub.models import tiny_models
from tests.hub.server import Hub


@pytest.fixture
def library(make_library: Callable[..., Library], hub: Hub) -> Library:
    return make_library(HF_ENDPOINT=hub.url, MODELSCOPE_ENDPOINT=hub.url)


@pytest.fixture
def jobs(library: Library) -> Iterator[Jobs]:
    runner = Runner(library.settings, library.database)
    runner.start()
    yield Jobs(library.settings, library.database, runner=runner)
    runner.close()


def test_a_pull_is_a_job(jobs: Jobs, library: Library) -> None:
    done = jobs.wait(jobs.submit(JobSpec(kind="pull", params={"model": "t5-base"})).id, timeout_s=120)
    card = library.show("t5-base")
    assert done.result == {"model": card.ref, "name": "t5-base", "version": card.version, "size_bytes": card.size_bytes}
    assert (done.progress.unit, done.progress.done) == ("bytes", card.size_bytes)
    artefacts = [event.data for event in jobs.events(done.id) if event.type == "artefact"]
    assert artefacts == [{"name": "model", "model": card.ref, "version": card.version}]


def test_an_import_is_a_job(jobs: Jobs, library: Library) -> None:
    folder = tiny_models() / "google-t5/t5-base"
    done = jobs.wait(jobs.submit(JobSpec(kind="import", params={"path": str(folder), "name": "mine"})).id, timeout_s=120)
    assert done.result is not None and done.result["name"] == "mine"
    assert all(verdict.ok for verdict in library.verify("mine"))


def test_what_a_key_pulls_is_its_projects(jobs: Jobs, library: Library) -> None:
    spec = JobSpec(kind="pull", params={"model": "t5-base"}, project="research", submitted_by="key_1")
    jobs.wait(jobs.submit(spec).id, timeout_s=120)
    assert [card.name for card in library.seen_by("research").list()] == ["t5-base"]
    assert library.seen_by("another").list() == []


@pytest.mark.parametrize(
    ("kind", "params", "code"),
    [
        ("pull", {"model": "no-such-model-anywhere"}, "not_found"),
        ("pull", {"model": "file:/etc/passwd"}, "invalid_value"),
        ("import", {"path": "/no/such/folder"}, "not_found"),
    ],
)
def test_a_mistake_of_the_user_fails_at_once(jobs: Jobs, kind: str, params: dict[str, str], code: str) -> None:
    job = jobs.submit(JobSpec(kind=kind, params=params))
    with pytest.raises(JobFailed) as caught:
        jobs.wait(job.id, timeout_s=120)
    assert (caught.value.job_code, jobs.get(job.id).attempt) == (code, 1)


def test_parameters_are_checked_at_the_door(jobs: Jobs, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue) as caught:
        jobs.submit(JobSpec(kind="pull", params={"name": "t5-base"}))
    assert caught.value.param == "params.name"


def test_a_broken_connection_is_another_attempt(jobs: Jobs, library: Library, hub: Hub) -> None:
    """The job has fetched half of it, the connection breaks, the library itself goes on."""
    hub.faults.cut["model.safetensors"] = 100_000
    done = jobs.wait(jobs.submit(JobSpec(kind="pull", params={"model": "bert-base-uncased"})).id, timeout_s=120)
    assert done.state is JobState.SUCCEEDED
    assert hub.faults.cut == {}
