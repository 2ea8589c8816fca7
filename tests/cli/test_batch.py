"""`llmos batch run` as a user runs it: a process of its own, a real model, files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

MODEL = "smollm2-135m-instruct"


def llmos(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "llmos", "batch", "run", *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def asked(count: int, **body: Any) -> list[dict[str, Any]]:
    """Plain lines that ask for answers of a known length."""
    return [
        {"prompt": f"Count from {number}.", "max_tokens": 4, "ignore_eos": True, "temperature": 0, **body}
        for number in range(count)
    ]


def test_plain_lines_are_answered_in_order(user_env: dict[str, str], tmp_path: Path) -> None:
    rows = [*asked(6), {"custom_id": "warm", "messages": [{"role": "user", "content": "Hi"}], "temperature": 7}]
    source, out = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    done = llmos(user_env, str(source), "-o", str(out), "--model", MODEL, "--json")
    assert done.returncode == 1, done.stderr  # one request failed
    told = json.loads(done.stdout)
    assert (told["total"], told["completed"], told["failed"], told["completion_tokens"]) == (7, 6, 1, 24)
    found = lines(out)
    assert [line["custom_id"] for line in found] == [str(number) for number in range(1, 7)]
    assert all(line["response"]["body"]["usage"]["completion_tokens"] == 4 for line in found)
    [failed] = lines(tmp_path / "out.errors.jsonl")
    assert failed["custom_id"] == "warm" and failed["response"]["body"]["error"]["param"] == "temperature"
    assert not (tmp_path / "out.jsonl.batch").exists()
    again = llmos(user_env, str(source), "-o", str(out), "--model", MODEL)
    assert again.returncode == 1 and "is there already" in again.stderr and lines(out) == found


def test_embeddings(user_env: dict[str, str], tmp_path: Path) -> None:
    body = {"model": "all-minilm-l6-v2"}
    rows: list[dict[str, Any]] = [
        {"custom_id": f"t{number}", "method": "POST", "url": "/v1/embeddings", "body": {**body, "input": f"Text {number}"}}
        for number in range(70)
    ]
    rows[5]["body"]["input"] = ""
    source, out = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    done = llmos(user_env, str(source), "-o", str(out), "--errors", str(tmp_path / "err.jsonl"))
    assert done.returncode == 1, done.stderr
    found = lines(out)
    assert len(found) == 69 and all(len(line["response"]["body"]["data"][0]["embedding"]) == 384 for line in found)
    assert [line["custom_id"] for line in lines(tmp_path / "err.jsonl")] == ["t5"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_the_same_command_goes_on(user_env: dict[str, str], tmp_path: Path, how: signal.Signals) -> None:
    source, out = write(tmp_path / "in.jsonl", asked(120, max_tokens=24)), tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "llmos", "batch", "run", str(source), "-o", str(out), "--model", MODEL, "--concurrency", "8"]
    log = tmp_path / "out.jsonl.batch" / "results.log"
    with subprocess.Popen(command, env=user_env, stderr=subprocess.PIPE, text=True) as process:
        while not (log.exists() and log.read_bytes().count(b"\n") >= 20):
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, how)
        said = process.communicate(timeout=60)[1]
        assert process.returncode == (130 if how is signal.SIGINT else -signal.SIGKILL)
    assert not out.exists()
    if how is signal.SIGINT:
        assert "goes on from there" in said and "Traceback" not in said
    before = log.read_bytes().count(b"\n")
    done = llmos(user_env, *command[5:], "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["completed"] == 120 and 120 - told["asked_now"] in (before, before - 1)  # the last line may be torn
    assert [line["custom_id"] for line in lines(out)] == [str(number) for number in range(1, 121)]


def test_bad_lines_are_listed(user_env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"prompt": "Hi"}\n{"prompt": \n{"text": "x"}\n')
    done = llmos(user_env, str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl"), "--model", MODEL)
    assert done.returncode == 2
    assert "line 2: This line is not valid JSON" in done.stderr and "line 3: The line has neither body nor messages" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("none.jsonl", "-o", "out.jsonl"), "There is no file none.jsonl"),
        (("in.jsonl", "-o", "in.jsonl"), "three different files"),
        (("in.jsonl", "-o", "out.jsonl"), "body.model is missing"),
        (("in.jsonl", "-o", "out.jsonl", "--endpoint", "/v1/chat/completion"), "Did you mean /v1/chat/completions"),
        (("in.jsonl", "-o", "out.jsonl", "--model", "nobody-knows-it"), "nobody-knows-it"),
    ],
)
def test_mistakes(user_env: dict[str, str], tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    write(tmp_path / "in.jsonl", asked(2))
    done = subprocess.run(
        [sys.executable, "-m", "llmos", "batch", "run", *arguments],
        env=user_env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode in (1, 2) and says in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out.jsonl").exists()
