"""A live server in a thread of the test process, on a free port of the loopback."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
from fastapi import FastAPI

from llmos.engine.pool import Pool
from llmos.server.app import create_app
from llmos.server.limits import Limits
from llmos.server.serve import Server, make_server
from llmos.server.state import State
from llmos.settings import Settings
from tests.doubles import FakeLibrary


class ServedLibrary(FakeLibrary):
    """With the aliases that /v1/models lists."""

    def aliases(self) -> dict[str, str]:
        return {"prod": "fake"}


@dataclass(frozen=True)
class Live:
    url: str
    app: FastAPI
    server: Server
    client: httpx.Client

    @property
    def state(self) -> State:
        state: State = self.app.state.llmos
        return state

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@contextmanager
def live(settings: Settings, pool: Pool, *, limits: Limits | None = None) -> Iterator[Live]:
    """Serves until the block ends; the pool is closed with it."""
    app = create_app(settings, pool, limits=limits)
    ready: queue.Queue[str] = queue.Queue()
    server = make_server(app, settings.model_copy(update={"port": 0}), limits=limits, on_ready=ready.put)
    thread = threading.Thread(target=server.run, name="live-server")
    thread.start()
    try:
        url = ready.get(timeout=30)
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            yield Live(url, app, server, client)
    finally:
        server.should_exit = True
        thread.join(timeout=40)
        assert not thread.is_alive()
