"""SIGTERM (promise P16), to a real server process over doubles."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
SERVER = """
import sys
from pathlib import Path
from llmos.server.app import create_app
from llmos.server.serve import make_server
from llmos.settings import Settings
from tests.doubles import fake_pool
folder = Path(sys.argv[1])
settings = Settings.from_env({"LLMOS_HOME": str(folder), "LLMOS_PORT": "0", "LLMOS_NUM_THREADS": "2"})
app = create_app(settings, fake_pool(settings, folder))
make_server(app, settings, on_ready=lambda url: print(url, flush=True)).run()
"""


@contextmanager
def server(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen([sys.executable, "-c", SERVER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def body(max_tokens: int) -> dict[str, object]:
    return {"model": "fake-slow", "prompt": "Hi", "max_tokens": max_tokens, "stream": True}


def test_running_work_is_finished(tmp_path: Path) -> None:
    with server(tmp_path) as (process, url), httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        with client.stream("POST", "/v1/completions", json=body(50)) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            assert [line for line in lines if line][-1] == "data: [DONE]"
        assert process.wait(timeout=25) == 0


def test_idle_server_stops(tmp_path: Path) -> None:
    with server(tmp_path) as (process, url), httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        assert client.get("/readyz").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=25) == 0


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    with (
        server(tmp_path) as (process, url),
        httpx.Client(base_url=url, timeout=60, trust_env=False) as client,
        client.stream("POST", "/v1/completions", json=body(450)) as answer,
    ):
        lines = answer.iter_lines()
        for line in lines:
            assert line.startswith("data: {")
            break
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=8) == 0
        assert lines is not None  # the client was still listening
