"""A real service for these tests: its own process, its own home, a port that stays the same when it is started again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[2]
READY_S = 60.0
STOP_S = 40.0


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Service:
    """start, kill, stop, start again: the home stays. wrap: a command to run it under. The log of all runs is at `log`."""

    def __init__(self, home: Path, *, env: Mapping[str, str] | None = None, wrap: Sequence[str] = ()) -> None:
        self.home, self.wrap = home, list(wrap)
        home.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home.parent / f"{home.name}.log"
        self.env = _environment(home, self.port, env or {})
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.end()

    @property
    def command(self) -> list[str]:
        return [*self.wrap, sys.executable, "-m", "tests.promises.service_main"]

    def start(self, *, ready_s: float = READY_S) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.env, cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self.wait_ready(ready_s)

    def wait_ready(self, ready_s: float = READY_S) -> None:
        until = time.monotonic() + ready_s
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/readyz", timeout=2, trust_env=False).status_code == 200:
                    return
            assert self.process is None or self.process.poll() is None, f"the service ended:\n{self.tail()}"
            assert time.monotonic() < until, f"not ready within {ready_s:g} s:\n{self.tail()}"
            time.sleep(0.05)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """Of the server itself."""
        assert self.process is not None
        if not self.wrap:
            return self.process.pid
        return int(psutil.Process(self.process.pid).children()[0].pid)

    def children(self) -> list[psutil.Process]:
        """Engines and jobs, with their children."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return list(psutil.Process(self.pid).children(recursive=True))
        return []

    def kill(self) -> None:
        """SIGKILL to the server alone, as the kernel's out-of-memory killer does; its children must find out by themselves."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        assert self.process is not None
        self.process.wait(timeout=STOP_S)

    def stop(self) -> int:
        """SIGTERM and its exit status."""
        assert self.process is not None
        os.kill(self.pid, signal.SIGTERM)
        return self.process.wait(timeout=STOP_S)

    def end(self) -> None:
        """Whatever state it is in: nothing of it is left."""
        left = self.children()
        if self.alive:
            with contextlib.suppress(subprocess.TimeoutExpired, ProcessLookupError):
                self.stop()
        if self.process is not None and self.alive:
            self.process.kill()
            self.process.wait(timeout=STOP_S)
        for child in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, **({"timeout": 30, "trust_env": False} | options))

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


def _environment(home: Path, port: int, more: Mapping[str, str]) -> dict[str, str]:
    own = {
        "LLMOS_HOME": str(home),
        "LLMOS_PORT": str(port),
        "HF_HOME": str(home / "hf"),
        "LLMOS_PROBE": "false",
        "LLMOS_LOG_LEVEL": "WARNING",
        "PYTHONPATH": str(ROOT),
        "PYTHONFAULTHANDLER": "1",
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LLMOS_", "OTEL_"))}
    return inherited | own | dict(more)
