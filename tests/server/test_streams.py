"""What a client that goes away leaves behind: nothing. And what a full server says."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from llmos.server.limits import Limits
from llmos.settings import Settings
from tests.doubles import fake_pool
from tests.server.live import Live, live

SLOW = {"model": "fake-slow", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 400}
DIALECTS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {**SLOW, "stream": True}),
    ("/v1/chat/completions", {**SLOW, "stream": False}),
    ("/v1/completions", {"model": "fake-slow", "prompt": ["a", "b"], "max_tokens": 400, "stream": True}),
    ("/v1/completions", {"model": "fake-slow", "prompt": ["a", "b"], "max_tokens": 400}),
    ("/v1/responses", {"model": "fake-slow", "input": "Hi", "stream": True}),
    ("/v1/messages", {**SLOW, "stream": True}),
    ("/api/chat", {"model": "fake-slow", "messages": SLOW["messages"]}),
]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server with one slot and a queue of one."""
    folder = tmp_path_factory.mktemp("small")
    settings = Settings.from_env({"LLMOS_HOME": str(folder), "LLMOS_NUM_THREADS": "2"})
    with live(settings, fake_pool(settings, folder), limits=Limits(slots=1, queue=1)) as running:
        yield running


def wait_until(true: Callable[[], bool]) -> None:
    """Fails after ten seconds; usually a few milliseconds."""
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end, "did not become true"
        time.sleep(0.005)


def running(server: Live) -> int:
    return sum(info.running for info in server.state.pool.loaded())


def send(server: Live, path: str, body: dict[str, Any]) -> socket.socket:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    connection.sendall(head.encode() + data)
    return connection


@pytest.mark.parametrize(("path", "body"), DIALECTS)
def test_disconnect_frees_the_engine(served: Live, path: str, body: dict[str, Any]) -> None:
    connection = send(served, path, body)
    wait_until(lambda: running(served) > 0)
    connection.close()
    wait_until(lambda: running(served) == 0 and served.state.admission.running == 0)


def test_disconnect_in_the_middle_of_a_stream(served: Live) -> None:
    connection = send(served, "/v1/chat/completions", {**SLOW, "stream": True})
    assert b"200 OK" in connection.recv(4096)
    connection.close()
    wait_until(lambda: running(served) == 0 and served.state.admission.running == 0)


def test_full_server_refuses_at_once_and_says_when_to_come_back(small: Live) -> None:
    first = send(small, "/v1/chat/completions", {**SLOW, "stream": True})
    wait_until(lambda: small.state.admission.running == 1)
    second = send(small, "/v1/chat/completions", {**SLOW, "max_tokens": 1})
    wait_until(lambda: small.state.admission.waiting == 1)
    answer = small.client.post("/v1/chat/completions", json=SLOW)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "over_capacity"
    assert int(answer.headers["retry-after"]) >= 1
    first.close()
    assert b"200 OK" in second.recv(4096)
    second.close()
    wait_until(lambda: small.state.admission.running == 0)


def test_leaving_the_queue(small: Live) -> None:
    first = send(small, "/v1/chat/completions", {**SLOW, "stream": True})
    wait_until(lambda: small.state.admission.running == 1)
    second = send(small, "/v1/chat/completions", SLOW)
    wait_until(lambda: small.state.admission.waiting == 1)
    second.close()
    wait_until(lambda: small.state.admission.waiting == 0)
    first.close()
    wait_until(lambda: small.state.admission.running == 0)


def test_unloading_a_model_ends_its_answers_with_an_error(served: Live) -> None:
    found: list[httpx.Response] = []
    body = {**SLOW, "stream": False}
    asking = threading.Thread(target=lambda: found.append(httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=60)))
    asking.start()
    wait_until(lambda: running(served) > 0)
    served.client.delete("/api/v1/loaded/fake-slow")
    asking.join(timeout=30)
    assert found[0].json()["error"]["code"] == "cancelled"


def test_deadline(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("deadline")
    environment = {"LLMOS_HOME": str(folder), "LLMOS_NUM_THREADS": "2", "LLMOS_REQUEST_DEADLINE": "0.3s"}
    settings = Settings.from_env(environment)
    with live(settings, fake_pool(settings, folder)) as server:
        whole = server.client.post("/v1/chat/completions", json=SLOW)
        assert (whole.status_code, whole.json()["error"]["code"]) == (504, "deadline_exceeded")
        with server.client.stream("POST", "/v1/chat/completions", json={**SLOW, "stream": True}) as answer:
            lines = [line for line in answer.iter_lines() if line]
        assert json.loads(lines[-1].removeprefix("data: "))["error"]["code"] == "deadline_exceeded"
        wait_until(lambda: running(server) == 0)
