"""What a client that goes away leaves behind: nothing. And what a full server says."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import httpx
import pytest

from llmos.server.limits import Limits
from llmos.settings import Settings
from tests.doubles import fake_card, fake_pool
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


def send(server: Live, path: str, body: dict[str, Any], headers: Mapping[str, str] = MappingProxyType({})) -> socket.socket:
    data = json.dumps(body).encode()
    fields = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": len(data), **headers}
    head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"
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


def test_an_answer_that_nobody_reads_is_cancelled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """P15. The client keeps its connection and does not read; what the network buffers hold is used up first."""
    folder = tmp_path_factory.mktemp("unread")
    settings = Settings.from_env({"LLMOS_HOME": str(folder), "LLMOS_NUM_THREADS": "2", "LLMOS_CONTEXT_LENGTH": "2000000"})
    pool = fake_pool(settings, folder, cards=[fake_card(extra={"endless": "yes"}, context_length=2_000_000)])
    body = {"model": "fake", "prompt": "a", "max_tokens": 1_000_000, "stream": True, "logprobs": 1}
    with live(settings, pool, limits=Limits(unread_s=0.2)) as server:
        connection = send(server, "/v1/completions", body)
        assert b"200 OK" in connection.recv(4096)
        wait_until(lambda: len(server.server.server_state.connections) == 0)
        wait_until(lambda: running(server) == 0 and server.state.admission.running == 0)
        connection.close()


def test_prompt_tokens_count_at_the_door(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("tokens")
    settings = Settings.from_env({"LLMOS_HOME": str(folder), "LLMOS_NUM_THREADS": "2"})
    limits = Limits(slots=8, slot_tokens=10, queue=8, queue_tokens=100)
    with live(settings, fake_pool(settings, folder), limits=limits) as server:
        first = send(server, "/v1/chat/completions", {**SLOW, "stream": True})
        wait_until(lambda: server.state.admission.running == 1)
        second = send(server, "/v1/chat/completions", {**SLOW, "max_tokens": 1})
        wait_until(lambda: server.state.admission.waiting == 1)
        long = {**SLOW, "messages": [{"role": "user", "content": "word " * 100}]}
        answer = server.client.post("/v1/chat/completions", json=long)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "over_capacity")
        assert "prompt tokens" in answer.json()["error"]["message"]
        first.close()
        assert b"200 OK" in second.recv(4096)
        second.close()


def test_one_key_cannot_fill_the_queue(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("keys")
    settings = Settings.from_env({"LLMOS_HOME": str(folder), "LLMOS_NUM_THREADS": "2", "LLMOS_API_KEY": "llmos_test"})
    key = {"authorization": "Bearer llmos_test"}
    with live(settings, fake_pool(settings, folder), limits=Limits(slots=1, key_queue=1)) as server:
        first = send(server, "/v1/chat/completions", {**SLOW, "stream": True}, key)
        wait_until(lambda: server.state.admission.running == 1)
        second = send(server, "/v1/chat/completions", SLOW, key)
        wait_until(lambda: server.state.admission.waiting == 1)
        answer = server.client.post("/v1/chat/completions", json=SLOW, headers=key)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert int(answer.headers["retry-after"]) >= 1
        first.close()
        second.close()
        wait_until(lambda: server.state.admission.running == 0)
