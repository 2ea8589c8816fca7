"""The server of fakes_main.py, started and looked at: its requests at the engines, its memory, descriptors and threads."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil

from tests.promises.service import Service


class Footprint(NamedTuple):
    rss_bytes: int
    num_files: int
    num_threads: int


class FakeService(Service):
    """limits: fields of server.limits.Limits. inline: engines in the server's own process."""

    def __init__(
        self, home: Path, *, limits: Mapping[str, Any] | None = None, inline: bool = False, env: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(home, env=env)
        self._asked = json.dumps({"limits": dict(limits or {}), "inline": inline})

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.promises.fakes_main", self._asked]

    def footprint(self) -> Footprint:
        """Of the server and its engines together."""
        processes = [psutil.Process(self.pid), *self.children()]
        return Footprint(
            sum(one.memory_info().rss for one in processes),
            sum(one.num_fds() for one in processes),
            sum(one.num_threads() for one in processes),
        )


def running(client: httpx.Client) -> int:
    """Generations in flight, as the engines count them."""
    return sum(one["running"] for one in client.get("/api/v1/loaded").json()["loaded"])


def until(true: Callable[[], bool], *, timeout_s: float = 30.0) -> float:
    """The seconds until it is; fails after timeout_s."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < timeout_s, "did not become true"
        time.sleep(0.005)
    return time.monotonic() - began
