"""P16: a stop. SIGTERM: not ready at once, what runs is finished, exit 0 within 25 s. A second SIGTERM: exit 0 within 2 s.

Quick leaves slack for a busy machine at the second signal; full asserts the 2 s.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.promises.fakes import FakeService, running, until
from tests.promises.levels import level, quick_or_full, seeded

NUM_STOPS = quick_or_full(5, 100)
EXIT_S = 25.0
HURRIED_S = 8.0 if level() == "quick" else 2.0


def body(max_tokens: int) -> dict[str, object]:
    return {"model": "fake-steady", "prompt": "Hi", "max_tokens": max_tokens, "stream": True}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeService]:
    with FakeService(tmp_path / "home") as started:
        yield started


def term(service: FakeService) -> None:
    os.kill(service.pid, signal.SIGTERM)


def wait(service: FakeService, timeout_s: float) -> int:
    assert service.process is not None
    return service.process.wait(timeout=timeout_s)


def takes_work(service: FakeService) -> bool:
    """Whether a new client still finds it ready."""
    try:
        return service_status(service) == 200
    except httpx.HTTPError:
        return False


def service_status(service: FakeService) -> int:
    return httpx.get(f"{service.url}/readyz", timeout=5, trust_env=False).status_code


@contextmanager
def streaming(service: FakeService, max_tokens: int) -> Iterator[Iterator[str]]:
    """The lines of an answer that has begun."""
    with (
        httpx.Client(base_url=service.url, timeout=60, trust_env=False) as client,
        client.stream("POST", "/v1/completions", json=body(max_tokens)) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines).startswith("data: {")
        yield lines


@pytest.mark.timeout(7200)
def test_stops_under_load(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Ten answers of random length run at every stop; each must be whole."""
    rng, took = seeded("P16"), []
    for number in range(NUM_STOPS):
        with FakeService(tmp_path / f"home{number}") as service:
            took.append(_stopped(service, rng))
    record_property("figure", f"{NUM_STOPS} stops, {max(took):.1f} s at most")
    assert max(took) < EXIT_S


def _stopped(service: FakeService, rng: random.Random) -> float:
    lengths = [rng.randrange(10, 150) for _ in range(10)]
    begun = threading.Barrier(len(lengths) + 1, timeout=30)

    def read(max_tokens: int) -> str:
        with streaming(service, max_tokens) as lines:
            begun.wait()
            return [line for line in lines if line][-1]

    with ThreadPoolExecutor(len(lengths)) as threads:
        reading = [threads.submit(read, length) for length in lengths]
        begun.wait()
        before = time.monotonic()
        term(service)
        until(lambda: not takes_work(service))
        assert [one.result() for one in reading] == ["data: [DONE]"] * len(lengths)
    assert wait(service, EXIT_S) == 0
    return time.monotonic() - before


def test_an_idle_server_stops(service: FakeService) -> None:
    assert takes_work(service)
    term(service)
    assert wait(service, EXIT_S) == 0


def test_a_second_signal_does_not_wait(service: FakeService) -> None:
    with streaming(service, 450) as lines:
        term(service)
        time.sleep(0.5)
        assert service.alive
        before = time.monotonic()
        term(service)
        assert wait(service, HURRIED_S) == 0
        assert time.monotonic() - before < HURRIED_S
        assert lines is not None  # the client was still listening


def test_engines_end_with_the_server(service: FakeService) -> None:
    with streaming(service, 30) as lines:
        engines = service.children()
        assert engines
        term(service)
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert wait(service, EXIT_S) == 0
    until(lambda: not any(one.is_running() for one in engines))


def test_a_request_on_an_open_connection_is_refused_while_it_stops(service: FakeService) -> None:
    with streaming(service, 200), socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        with service.client() as client:
            until(lambda: running(client) == 1)
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 64\r\n\r\n"
        connection.sendall(head)  # its body comes when the server stops
        time.sleep(0.2)
        term(service)
        time.sleep(0.3)
        connection.sendall(b'{"model": "fake-steady", "prompt": "Hi", "max_tokens": 2}'.ljust(64))
        answer = connection.recv(4096)
        assert answer.startswith(b"HTTP/1.1 503 "), answer
        assert b"retry-after" in answer.lower()
    with pytest.raises(subprocess.TimeoutExpired):  # the stream that runs is not cut off for it
        wait(service, 0.01)
    assert wait(service, EXIT_S) == 0
