"""P2: of a batch every item has exactly one result line, whatever is killed; what is asked again was in flight at a kill."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from llmos.kernel.base import JobState
from tests.doubles import fake_card
from tests.promises.levels import quick_or_full, seeded
from tests.server.batching import batch_server, begin, content, wait

NUM_KILLS = quick_or_full(5, 100)
NUM_JOB_KILLS = quick_or_full(3, 20)
NUM_ITEMS = 1000
WINDOW = 16

# Asks every item of a batch; each asking is a line in `asked` before the answer is there.
SCRIPT = """
import asyncio, os, sys
from pathlib import Path
from llmos.engine.batch.base import Outcome, Rules, Unattended
from llmos.engine.batch.work import Batch
from llmos.types import Usage

source, folder, asked, out, err, pause_s, window = sys.argv[1:]
log = os.open(asked, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

class Answers:
    async def answer(self, item, warm):
        os.write(log, f"{item.custom_id}\\n".encode())
        await asyncio.sleep(float(pause_s))
        if warm:
            warm()
        text = item.custom_id * (item.number % 400)
        return Outcome(status=400 if item.number % 10 == 3 else 200, body={"text": text}, usage=Usage(completion_tokens=1))

    def refusal(self, error):
        raise error

with Batch(Path(folder), Path(source), Rules(endpoint="/v1/chat/completions")) as batch:
    batch.run(Answers(), Unattended(), window=int(window))
    batch.finish(Path(out), Path(err))
"""


def write_input(path: Path) -> Path:
    with path.open("w") as file:
        for number in range(NUM_ITEMS):
            messages = [{"role": "system", "content": f"Group {number % 5}"}, {"role": "user", "content": f"Question {number:04}"}]
            body = {"model": "fake", "messages": messages, "max_tokens": number % 90 + 1}
            file.write(
                json.dumps({"custom_id": f"r{number:04}", "method": "POST", "url": "/v1/chat/completions", "body": body}) + "\n"
            )
    return path


def check_lines(answers: list[dict[str, object]], errors: list[dict[str, object]]) -> None:
    """Every item once, each file in the order of the input."""
    for lines in (answers, errors):
        found = [str(line["custom_id"]) for line in lines]
        assert found == sorted(found)
    assert sorted(str(line["custom_id"]) for line in [*answers, *errors]) == [f"r{number:04}" for number in range(NUM_ITEMS)]


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def killed_after(command: list[str], seconds: float) -> bool:
    """Whether the process had to be killed; it must end well by itself otherwise."""
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            return True
        assert process.returncode == 0, process.stderr.read() if process.stderr else ""
        return False


def test_killed_runs(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    draw, kills, rounds = seeded("P2"), 0, 0
    asked_in_all = 0
    while kills < NUM_KILLS:
        folder = tmp_path / str(rounds)
        folder.mkdir()
        kills_now, asked, answers, errors = _one_batch(folder, draw, NUM_KILLS - kills)
        kills, rounds = kills + kills_now, rounds + 1
        check_lines(answers, errors)
        assert len(errors) == NUM_ITEMS // 10
        redone = sum(asked.values()) - NUM_ITEMS
        assert redone <= kills_now * WINDOW, f"{redone} items were asked again after {kills_now} kills of {WINDOW} in flight"
        asked_in_all += redone
    record_property("figure", f"{kills} kills in {rounds} batches of {NUM_ITEMS} items: each one line; {asked_in_all} asked again")


def _one_batch(
    folder: Path, draw: random.Random, most: int
) -> tuple[int, Counter[str], list[dict[str, object]], list[dict[str, object]]]:
    """Starts the same command again and again, and kills it `most` times at most, until it has ended by itself."""
    source, out, err = write_input(folder / "in.jsonl"), folder / "out.jsonl", folder / "err.jsonl"
    command = [
        sys.executable,
        "-c",
        SCRIPT,
        str(source),
        str(folder / "work"),
        str(folder / "asked"),
        str(out),
        str(err),
        "0.03",
        str(WINDOW),
    ]
    kills = 0
    while killed_after(command, draw.uniform(0.3, 2.0) if kills < most else 120.0):
        kills += 1
        assert not out.exists() or len(read(out)) == NUM_ITEMS * 9 // 10  # whole, or not there
    return kills, Counter((folder / "asked").read_text().split()), read(out), read(err)


def test_a_kill_while_a_result_is_written(tmp_path: Path) -> None:
    """A log that ends at every byte of its last lines gives the same result."""
    source, out, err = write_input(tmp_path / "in.jsonl"), tmp_path / "out.jsonl", tmp_path / "err.jsonl"
    command = [
        sys.executable,
        "-c",
        SCRIPT,
        str(source),
        str(tmp_path / "work"),
        str(tmp_path / "asked"),
        str(out),
        str(err),
        "0",
        "64",
    ]
    assert not killed_after(command, 120)
    log = tmp_path / "work" / "results.log"
    whole = log.read_bytes()
    last = whole.rindex(b"\n", 0, len(whole) - 1) + 1
    for end in sorted({last, last + 1, (last + len(whole)) // 2, len(whole) - 1}):
        log.write_bytes(whole[:end])
        (tmp_path / "asked").unlink()
        assert not killed_after(command, 120)
        assert len((tmp_path / "asked").read_text().split()) == 1
        check_lines(read(out), read(err))


def kill_children() -> int:
    """SIGKILL to every child process of a job of this process."""
    killed = 0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "llmos.kernel.child" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                process.kill()
                killed += 1
    return killed


@pytest.mark.timeout(1200)
def test_killed_children_of_a_job(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """The same for a batch of a server: its child is killed, the job goes on, the files are right."""
    draw = seeded("P2 jobs")
    with batch_server(tmp_path, [fake_card(extra={"step_s": "0.005"})]) as server:
        lines = [json.loads(line) for line in write_input(tmp_path / "in.jsonl").read_text().splitlines()]
        for line in lines:
            line["body"]["max_tokens"] = 12
        made = begin(server.client, lines)
        job = "job_" + str(made["id"]).removeprefix("batch_")
        kills = 0
        while kills < NUM_JOB_KILLS:
            before = wait(server.client, made["id"], ("in_progress", "completed"))["request_counts"]["completed"]
            if before == NUM_ITEMS:
                break
            time.sleep(draw.uniform(0.2, 1.0))
            if server.state.jobs.get(job).state is JobState.RUNNING and kill_children():
                kills += 1
                _until_it_goes_on(
                    lambda: wait(server.client, made["id"], ("in_progress", "completed"))["request_counts"]["completed"] > 0
                )
        done = wait(server.client, made["id"], timeout_s=600)
        assert done["status"] == "completed" and done["request_counts"] == {"total": NUM_ITEMS, "completed": NUM_ITEMS, "failed": 0}
        check_lines(content(server.client, done["output_file_id"]), [])
        assert server.state.jobs.get(job).attempt > 1
        figures = server.client.get("/metrics").text
    asked = _asked(figures) / done["usage"]["input_tokens"] * NUM_ITEMS
    redone = round(asked) - NUM_ITEMS
    assert 0 <= redone <= kills * 48, f"{redone} items were asked again after {kills} kills"
    record_property("figure", f"{kills} kills of a job's process, {NUM_ITEMS} items: each one line; {redone} asked again")


def _until_it_goes_on(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < end


def _asked(figures: str) -> float:
    """Prompt tokens that the server has read; all prompts are of one length."""
    return next(float(line.split()[-1]) for line in figures.splitlines() if line.startswith("llmos_prompt_tokens_total{"))
