"""P17: an engine process that dies takes nothing else down and comes back by itself; a request that kills it three times is
quarantined. The same with real models: tests/conformance/test_engine_death.py.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import httpx
import pytest

from tests.promises.fakes import FakeService, until

STEADY = {"model": "fake-steady", "prompt": "Hi", "max_tokens": 50, "stream": True}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeService]:
    with FakeService(tmp_path_factory.mktemp("p17") / "home") as started:
        yield started


def pids(client: httpx.Client) -> dict[str, int]:
    return {one["name"]: one["pid"] for one in client.get("/api/v1/loaded").json()["loaded"]}


def ask(client: httpx.Client, model: str, prompt: str) -> httpx.Response:
    return client.post("/v1/completions", json={"model": model, "prompt": prompt, "max_tokens": 3})


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGILL, signal.SIGSEGV])
def test_a_dead_engine_costs_its_own_requests_only(service: FakeService, how: signal.Signals) -> None:
    with service.client() as client:
        assert ask(client, "fake-crash", "hello").status_code == 200
        with client.stream("POST", "/v1/completions", json=STEADY) as answer:
            lines = answer.iter_lines()
            next(lines)
            before = pids(client)
            os.kill(before["fake-crash"], how)
            assert [line for line in lines if line][-1] == "data: [DONE]"
        assert ask(client, "fake-crash", "hello").status_code == 200
        until(lambda: pids(client).get("fake-crash") not in (None, before["fake-crash"]))
        assert pids(client)["fake-steady"] == before["fake-steady"]


def test_a_request_that_kills_its_engine_three_times_is_refused_and_others_are_not(service: FakeService) -> None:
    with service.client() as client:
        for _ in range(3):
            died = ask(client, "fake-crash", "die")
            assert (died.status_code, died.json()["error"]["code"]) == (503, "engine_died")
            assert int(died.headers["retry-after"]) >= 1
        again = ask(client, "fake-crash", "die")
        assert (again.status_code, again.json()["error"]["code"]) == (422, "request_quarantined")
        assert ask(client, "fake-crash", "hello").status_code == 200
        assert ask(client, "fake", "hello").status_code == 200
