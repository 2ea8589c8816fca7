"""`llmos jobs`, `logs`, `cancel`, `pause`, `resume`: real processes on a home of their own, with and without a server."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from llmos.cli.jobs import given
from llmos.cli.jobtext import age, human_seconds, line, progress_text, short_ids, standing
from llmos.errors import InvalidValue
from llmos.kernel.base import Job, JobError, JobEvent, JobProgress, JobState, Priority, Resources, Retry
from tests.cli.conftest import CLI, COMMAND, Done, Terminal, check_stderr
from tests.jobs import serving, until

LONG = ("count", "to=100000", "pause_s=0.01")


@pytest.fixture(scope="module")
def env(user_env: dict[str, str], plugin_site: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A home without a server, and the kind "count"."""
    home = tmp_path_factory.mktemp("cli-jobs")
    return {**user_env, "LLMOS_HOME": str(home), "PYTHONPATH": str(plugin_site), "LLMOS_PORT": "9"}


@pytest.fixture
def jobs(cli: CLI, env: dict[str, str]) -> CLI:
    def run(*arguments: str, code: int = 0) -> Done:
        return cli(*arguments, code=code, env=env)

    return run


@pytest.fixture(scope="module")
def server(user_env: dict[str, str], env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("cli-server")
    with serving(home, env) as url:
        yield url


def listed(jobs: CLI, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(jobs("jobs", "--json", *arguments).stdout)["jobs"]
    return found


def test_a_job_waits_until_somebody_runs_it(jobs: CLI) -> None:
    made = jobs("jobs", "submit", "count", "to=15", "--label", "group=waits")
    job_id = made.stdout.strip()
    assert job_id.startswith("job_") and "llmos serve" in made.stderr and f"llmos logs -f {job_id}" in made.stderr
    assert [(job["id"], job["state"]) for job in listed(jobs, "--label", "group=waits")] == [(job_id, "queued")]
    assert "[queued]" in jobs("logs", job_id).stdout
    followed = jobs("logs", "-f", job_id)
    assert "this process does" in followed.stderr
    lines = followed.stdout.splitlines()
    assert [text for text in lines if "counting from 1 to 15" in text] and "[succeeded]" in lines[-1]
    assert any(" 100 %" in text for text in lines)
    assert jobs("logs", job_id).stdout.splitlines()[-1] == lines[-1]
    assert len(jobs("logs", job_id, "--tail", "2").stdout.splitlines()) == 2
    assert jobs("logs", "-f", job_id).stdout.splitlines()[-1] == lines[-1]
    events = [json.loads(text) for text in jobs("logs", job_id, "--json").stdout.splitlines()]
    assert events[0]["data"]["state"] == "queued" and events[-1]["data"]["state"] == "succeeded"


def test_wait_prints_the_result_and_the_way_to_it(jobs: CLI) -> None:
    done = jobs("jobs", "submit", "count", "--params", '{"to": 5}', "--wait")
    assert json.loads(done.stdout) == {"counted": 5, "began_at": 1, "attempt": 1}
    assert "counting from 1 to 5" in done.stderr
    failed = jobs("jobs", "submit", "count", "to=5", "fail_at=2", "--wait", code=1)
    assert failed.stdout == "" and "told to fail at 2" in failed.stderr and "Leave fail_at out" in failed.stderr
    job_id = listed(jobs, "--state", "failed")[0]["id"]
    assert "[failed]" in jobs("logs", job_id).stdout
    assert "told to fail" in jobs("logs", "-f", job_id, code=1).stderr


def test_the_list_fits_a_terminal_and_ids_may_be_short(jobs: CLI) -> None:
    first, second = (jobs("jobs", "submit", *LONG).stdout.strip() for _ in range(2))
    shown = jobs("jobs").stdout.splitlines()
    assert shown[0].split() == ["ID", "STATE", "KIND", "PROGRESS", "AGE"]
    assert all(len(text.rstrip()) <= 80 for text in shown)
    short = shown[1].split()[0]
    assert second.startswith(short) and len(short) < len(second) and shown[1].split()[1:3] == ["queued", "count"]
    for beginning in (short.removeprefix("job_"), second):
        assert json.loads(jobs("jobs", "show", beginning, "--json").stdout)["id"] == second
    both = "".join(one for one, two in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=True)))
    ambiguous = jobs("jobs", "show", both, code=2)
    assert first in ambiguous.stderr and second in ambiguous.stderr
    assert "no job 'nothing'" in jobs("jobs", "show", "nothing", code=1).stderr
    assert "state" in jobs("jobs", "show", second).stdout
    for job_id in (first, second):
        assert jobs("cancel", job_id).stdout == f"{job_id}\n"
        assert jobs("jobs", "rm", job_id).stdout == f"{job_id}\n"
    assert {first, second}.isdisjoint(job["id"] for job in listed(jobs))


def test_what_waits_is_steered_at_once(jobs: CLI) -> None:
    job_id = jobs("jobs", "submit", *LONG).stdout.strip()
    assert "Paused." in jobs("pause", job_id).stderr
    assert listed(jobs)[0]["state"] == "paused"
    resumed = jobs("resume", job_id)
    assert "Queued" in resumed.stderr and "llmos logs -f" in resumed.stderr
    assert "is queued; it cannot be removed" in jobs("jobs", "rm", job_id, code=1).stderr
    assert "Cancelled." in jobs("cancel", job_id).stderr
    assert "cancelled" in jobs("resume", job_id, code=1).stderr


def test_ctrl_c_leaves_the_job(env: dict[str, str], jobs: CLI) -> None:
    job_id = jobs("jobs", "submit", *LONG).stdout.strip()
    command = ["env", "--default-signal=INT", *COMMAND, "logs", "-f", job_id]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert any("counting from" in text for text in follower.stdout)
        follower.send_signal(signal.SIGINT)
        _, err = follower.communicate(timeout=60)
    assert follower.returncode == 130
    assert "waits for the next one who runs it" in err
    check_stderr(err)
    assert json.loads(jobs("jobs", "show", job_id, "--json").stdout)["state"] == "queued"
    jobs("cancel", job_id)


def test_a_server_runs_what_the_command_line_submits(cli: CLI, env: dict[str, str], server: str) -> None:
    job_id = cli("jobs", "submit", *LONG, "--url", server, env=env).stdout.strip()
    until(lambda: json.loads(cli("jobs", "show", job_id, "--url", server, "--json", env=env).stdout)["progress"]["done"] > 10)
    assert "count" in cli("jobs", "--url", server, "--state", "running", env=env).stdout
    assert "pauses at its next step" in cli("pause", job_id, "--url", server, env=env).stderr
    until(lambda: json.loads(cli("jobs", "--url", server, "--json", "-n", "1", env=env).stdout)["jobs"][0]["state"] == "paused")
    assert "Queued" in cli("resume", job_id, "--url", server, env=env).stderr
    until(lambda: json.loads(cli("jobs", "--url", server, "--json", "-n", "1", env=env).stdout)["jobs"][0]["state"] == "running")
    assert "ends at its next step" in cli("cancel", job_id, "--url", server, env=env).stderr
    assert "cancelled" in cli("logs", "-f", job_id, "--url", server, code=1, env=env).stderr


def test_following_in_a_terminal_rewrites_one_line(terminal: Callable[..., Terminal], server: str) -> None:
    shown = terminal("jobs", "submit", "count", "to=60", "pause_s=0.05", "--wait", "--url", server)
    shown.wait_for("counting from 1 to 60")
    shown.wait_for(" % (at ")
    assert shown.finish() == 0, shown.shown
    assert '"counted": 60' in shown.shown and "[succeeded]" in shown.shown


def test_a_pull_can_be_left_to_a_job(jobs: CLI) -> None:
    job_id = jobs("pull", "hf:google-bert/bert-base-uncased", "--detach").stdout.strip()
    followed = jobs("logs", "-f", job_id)
    assert "[made] model" in followed.stdout
    assert "bert-base-uncased" in jobs("list").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("jobs", "--state", "runing"), 2, "Did you mean running"),
        (("jobs", "submit", "cuont"), 1, "Did you mean count"),
        (("jobs", "submit", "count", "to=x"), 2, "params.to"),
        (("logs", "nothing"), 1, "no job 'nothing'"),
        (("cancel",), 2, "ID"),
    ],
)
def test_mistakes_are_said(jobs: CLI, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = jobs(*arguments, code=code)
    assert said in done.stderr and done.stdout == ""


def test_parameters_are_words_or_json() -> None:
    assert given(("to=3", 'names=["a"]', "text=plain words", "equals=a=b"), '{"to": 1, "more": true}') == {
        "to": 3,
        "names": ["a"],
        "text": "plain words",
        "equals": "a=b",
        "more": True,
    }
    for words, whole, said in ((("to",), None, "NAME=VALUE"), ((), "[1]", "JSON object"), ((), "{", "not JSON")):
        with pytest.raises(InvalidValue, match=said):
            given(words, whole)


# -- how it reads ------------------------------------------------------------------------------------------------------
def job(**changes: Any) -> Job:
    """A job for the pure functions below."""
    fields: dict[str, Any] = {
        "id": "job_0660da32411486bb593552ed1d", "kind": "count", "params": {}, "project": "default", "submitted_by": "",
        "priority": Priority.NORMAL, "resources": Resources(), "depends_on": (), "waits_for": (), "idempotency_key": None,
        "retry": Retry(), "labels": {}, "state": JobState.RUNNING, "wish": "", "attempt": 1, "failures": 0, "lost": 0, "runner": "r",
        "beat": 1, "progress": JobProgress(), "checkpoint": None, "result": None, "error": None,
        "created_at": datetime.now(UTC).isoformat(), "not_before": None, "deadline_at": None, "started_at": None, "finished_at": None,
    }  # fmt: skip
    return Job(**{**fields, **changes})


def test_what_is_said_of_a_job() -> None:
    half = JobProgress(done=50, total=100, unit="items", eta_s=180)
    assert progress_text(half) == "50 %, 3 min left"
    assert progress_text(JobProgress(done=7, unit="items")) == "7 items"
    assert progress_text(JobProgress(done=2_500_000, unit="bytes")) == "2.5 MB"
    assert progress_text(JobProgress()) == ""
    assert standing(job(progress=half)) == "50 %, 3 min left"
    assert standing(job(progress=half, wish="pause")) == "is being paused"
    assert standing(job(progress=half, state=JobState.PAUSED)) == "50 %"
    assert standing(job(state=JobState.QUEUED, waits_for=("a", "b"))) == "after 2 other jobs"
    assert standing(job(state=JobState.FAILED, error=JobError(code="storage_error", message="x"))) == "storage_error"
    assert standing(job(progress=JobProgress(message="\x1b[2Jgone"))) == "\\x1b[2Jgone"


def test_ages_and_times() -> None:
    assert [human_seconds(value) for value in (0, 119, 120, 7199, 7200, 172_799, 172_800)] == [
        "0 s",
        "119 s",
        "2 min",
        "120 min",
        "2 h",
        "48 h",
        "2 d",
    ]
    assert age(job(created_at=(datetime.now(UTC) - timedelta(hours=3)).isoformat())) == "3 h"


def test_short_ids_tell_apart() -> None:
    ids = ["job_0660da32411486bb593552ed1d", "job_0660da32411487bb593552ed1d", "job_0660da32411487cc593552ed1d"]
    assert list(short_ids(ids).values()) == ["job_0660da32411486b", "job_0660da32411487b", "job_0660da32411487c"]
    assert list(short_ids(ids[:1]).values()) == ["job_0660da32411486"]
    assert short_ids([]) == {}


def event(type: Any, **data: Any) -> JobEvent:
    return JobEvent(job_id="job_0", seq=1, attempt=1, at="2026-11-22T09:35:22.518+00:00", type=type, data=data)


def test_lines_of_the_history() -> None:
    def said(one: JobEvent, level: str = "info") -> str | None:
        text = line(one, level)
        return None if text is None else text[10:]

    assert said(event("log", level="info", text="a\x1b[31mb\u202e")) == "a\\x1b[31mb\\x202e"
    assert said(event("log", level="warning", text="hot")) == "warning: hot"
    assert (
        said(event("log", level="debug", text="x")) is None and said(event("log", level="debug", text="x"), "debug") == "debug: x"
    )
    assert said(event("log", level="warning", text="x"), "error") is None
    assert said(event("state", state="running", why="attempt 1 starts")) == "[running]: attempt 1 starts"
    assert said(event("artefact", name="model", version="1")) == "[made] model (version=1)"
    assert said(event("metric", name="loss", value=0.25, step=3)) == "[metric] loss = 0.25 at step 3"
    assert said(event("metric", name="loss", value=None, step=None)) == "[metric] loss = not a number"
    assert said(event("yield", waited_s=1.25, why="serving")) == "[waited] 1.2 s: serving"
    assert said(event("checkpoint", checkpoint={})) is None and said(event("checkpoint", checkpoint={}), "debug") == "[checkpoint]"
