"""`llmos top`: one frame through a pipe, the live screen in a terminal of 80 columns, with a server and without."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from llmos.cli.top import frame
from llmos.kernel.base import JobProgress, JobState
from llmos.sdk.status import MachineStatus, ModelStatus, QueueStatus, RunnerStatus, Status
from tests.cli.conftest import CLI, Terminal
from tests.cli.test_jobs import LONG, job
from tests.jobs import serving, until


@pytest.fixture(scope="module")
def env(user_env: dict[str, str], plugin_site: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {**user_env, "LLMOS_HOME": str(tmp_path_factory.mktemp("top")), "PYTHONPATH": str(plugin_site), "LLMOS_PORT": "9"}


@pytest.fixture(scope="module")
def server(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("top-server"), env) as url:
        yield url


def test_without_a_server_the_database_is_shown(cli: CLI, env: dict[str, str]) -> None:
    job_id = cli("jobs", "submit", *LONG, env=env).stdout.strip()
    shown = cli("top", "--once", env=env).stdout
    assert "no server" in shown and job_id[:18] in shown and "1 queued" in shown and "llmos serve starts one" in shown
    status = json.loads(cli("top", "--json", env=env).stdout)
    assert [row["id"] for row in status["jobs"]] == [job_id] and status["queue"] is None
    assert "cannot be reached" in cli("top", "--once", "--url", "http://127.0.0.1:9", env=env, code=1).stderr


def test_of_a_server_through_a_pipe(cli: CLI, env: dict[str, str], server: str) -> None:
    job_id = cli("jobs", "submit", *LONG, "--url", server, env=env).stdout.strip()
    until(lambda: json.loads(cli("top", "--json", "--url", server, env=env).stdout)["counts"].get("running"))
    done = cli("top", "--url", server, env=env)
    assert "no terminal" in done.stderr
    assert server in done.stdout and job_id[:18] in done.stdout and "···" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    cli("cancel", job_id, "--url", server, env=env)


@pytest.mark.parametrize("leave", ["q", "\x03"])
def test_live_until_q(terminal: Callable[..., Terminal], server: str, leave: str) -> None:
    screen = terminal("top", "--url", server, "--interval", "0.2")
    screen.wait_for("runners")
    screen.wait_for("runners")  # drawn again
    screen.send(leave)
    assert screen.finish() == 0, screen.shown


def status(**changes: Any) -> Status:
    fields: dict[str, Any] = {
        "at": "2026-11-22T09:35:22.518+00:00",
        "version": "0.1.0",
        "uptime_s": 7300.0,
        "machine": MachineStatus(
            host="h", cores=2, load=1.25, memory_bytes=24 * 10**9, available_bytes=11 * 10**9, budget_bytes=9 * 10**9
        ),
        "models": (),
        "queue": QueueStatus(running=3, waiting=2, waiting_tokens=1234, tokens_per_s=45.2, ttft_p50_s=0.123),
        "runners": (RunnerStatus(id="a", host="here", pid=7, alive=True), RunnerStatus(id="b", host="gone", pid=8, alive=False)),
        "counts": {"running": 1, "queued": 40, "succeeded": 7},
        "jobs": (),
    }
    return Status(**{**fields, **changes})


def drawn(shown: Status) -> list[str]:
    console = Console(width=80, height=24, record=True, file=io.StringIO(), color_system=None)
    console.print(frame(shown, "http://127.0.0.1:8000"))
    return console.export_text().splitlines()


def test_the_frame_says_all_of_it() -> None:
    name = "a-model-with-a-very-long-name-that-does-not-fit"
    model = ModelStatus(name=name, engine="openvino/f32-group32", memory_bytes=10**9, running=3, tokens_per_s=45.2, idle_s=0)
    half = JobProgress(done=50, total=100, unit="items", message="x" * 100, eta_s=180)
    lines = drawn(status(models=(model,), jobs=(job(progress=half), job(state=JobState.QUEUED, kind="k" * 64))))
    text = "\n".join(lines)
    assert all(len(line) <= 80 for line in lines)
    for wanted in (
        "LLMOS 0.1.0, http://127.0.0.1:8000, up 2 h",
        "2 cores, load 1.25",
        "11.0 GB of 24.0 GB free, 9.0 GB for models and jobs",
        "3 running, 2 waiting (1,234 tokens), 45 tok/s, first token 0.12 s",
        "1 running, 40 queued, 7 succeeded",
        "here:7",
        "openvino/f32-group32",
        "1.0 GB",
        "█████····· 50 %, 3 min left",
        "… 39 more",
    ):
        assert wanted in text, text
    assert "gone:8" not in text


def test_a_hostile_name_draws_nothing() -> None:
    lines = drawn(status(jobs=(job(progress=JobProgress(message="\x1b]0;gone\x07\u202e")),)))
    assert "\\x1b]0;gone\\x07\\x202e" in "\n".join(lines)
