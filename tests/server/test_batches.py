"""/v1/batches: a file of requests becomes a job; its child borrows the server's engines; what it made comes back as files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from llmos.kernel.base import JobState
from llmos.server import file_answers
from llmos.types import Family
from tests.doubles import fake_card
from tests.server.batching import batch_server, begin, content, upload, wait
from tests.server.live import Live

CARDS = (
    fake_card(),
    fake_card("fake-encoder", Family.ENCODER),
    fake_card("fake-slow", extra={"step_s": "0.02", "answer": "Slowly it goes on."}),
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with batch_server(tmp_path_factory.mktemp("batches"), CARDS) as server:
        yield server


@pytest.fixture
def client(running: Live) -> httpx.Client:
    return running.client


def chat(name: str, text: str = "Hi", *, model: str = "fake", **body: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": text}]
    return {
        "custom_id": name,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": model, "messages": messages, **body},
    }


def check(value: Any, name: str = "BatchAnswer") -> None:
    Draft202012Validator(getattr(file_answers, name).model_json_schema(mode="serialization")).validate(value)


def problem(answer: httpx.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


def test_a_batch_of_chats(client: httpx.Client, running: Live) -> None:
    lines = [chat(f"r{number}", f"Question {number}", max_tokens=5 + number) for number in range(30)]
    lines.insert(7, chat("hot", temperature=9))
    made = begin(client, lines, metadata={"why": "test"})
    check(made)
    assert made["status"] == "validating" and made["metadata"] == {"why": "test"} and made["output_file_id"] is None
    assert made["expires_at"] - made["created_at"] in (86_399, 86_400, 86_401)
    done = wait(client, made["id"])
    check(done)
    assert done["status"] == "completed" and done["model"] == "fake"
    assert done["request_counts"] == {"total": 31, "completed": 30, "failed": 1}
    answers = content(client, done["output_file_id"])
    assert [line["custom_id"] for line in answers] == [f"r{number}" for number in range(30)]
    first = answers[0]
    assert first["error"] is None and first["response"]["status_code"] == 200
    body = first["response"]["body"]
    assert body["object"] == "chat.completion" and body["choices"][0]["message"]["content"] == "Hello"
    assert done["usage"]["output_tokens"] == sum(line["response"]["body"]["usage"]["completion_tokens"] for line in answers)
    assert done["usage"]["input_tokens"] == sum(line["response"]["body"]["usage"]["prompt_tokens"] for line in answers)
    [failed] = content(client, done["error_file_id"])
    assert failed["custom_id"] == "hot" and failed["response"]["status_code"] == 400
    assert failed["response"]["body"]["error"]["param"] == "temperature"
    stored = client.get(f"/v1/files/{done['output_file_id']}").json()
    assert stored["purpose"] == "batch_output"
    for name in ("in_progress_at", "finalizing_at", "completed_at"):
        assert made["created_at"] <= done[name] <= made["created_at"] + 90
    assert running.state.pool.loaded()[0].name == "fake"  # the child had none of its own


ENDPOINTS = {
    "/v1/completions": ({"model": "fake", "prompt": ["a", "b"], "max_tokens": 4, "echo": True}, "text_completion"),
    "/v1/responses": ({"model": "fake", "input": "Hi", "max_output_tokens": 4}, "response"),
    "/v1/embeddings": ({"model": "fake-encoder", "input": ["a", "b"]}, "list"),
    "/v1/chat/completions": ({"model": "fake", "messages": [{"role": "user", "content": "Hi"}], "n": 2}, "chat.completion"),
}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_batch_answers_as_the_route_does(client: httpx.Client, endpoint: str) -> None:
    body, kind = ENDPOINTS[endpoint]
    lines = [{"custom_id": f"r{number}", "method": "POST", "url": endpoint, "body": body} for number in range(5)]
    done = wait(client, begin(client, lines, endpoint)["id"])
    assert done["request_counts"] == {"total": 5, "completed": 5, "failed": 0} and done["error_file_id"] is None
    asked = client.post(endpoint, json=body).json()
    for line in content(client, done["output_file_id"]):
        found = line["response"]["body"]
        assert found["object"] == kind and set(found) == set(asked)
        for field in ("choices", "data"):
            assert found.get(field) == asked.get(field)


def test_an_invalid_input_names_its_lines(client: httpx.Client) -> None:
    lines = [chat("a"), "{", chat("a"), {**chat("b"), "url": "/v1/completions"}]
    done = wait(client, begin(client, lines)["id"])
    check(done)
    assert done["status"] == "failed" and done["failed_at"] and done["output_file_id"] is None
    assert [(one["code"], one["line"]) for one in done["errors"]["data"]] == [
        ("invalid_json_line", 2),
        ("duplicate_custom_id", 3),
        ("invalid_url", 4),
    ]


def test_an_unknown_model_fails_the_batch(client: httpx.Client) -> None:
    done = wait(client, begin(client, [chat("a", model="nobody")])["id"])
    check(done)
    assert done["status"] == "failed"
    assert done["errors"]["data"][0]["code"] == "not_found" and "nobody" in done["errors"]["data"][0]["message"]


def test_a_model_on_the_servers_disk_is_refused(client: httpx.Client) -> None:
    done = wait(client, begin(client, [chat("a", model="file:/etc/passwd")])["id"])
    assert done["status"] == "failed" and done["errors"]["data"][0]["code"] == "invalid_value"


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"input_file_id": "file-none"}, (404, "not_found", "input_file_id")),
        ({"endpoint": "/v1/audio/speech"}, (400, "invalid_value", "endpoint")),
        ({"completion_window": "1h"}, (400, "invalid_value", "completion_window")),
        ({"metadata": {str(number): "x" for number in range(17)}}, (400, "invalid_value", "metadata")),
        ({"more": 1}, (400, "invalid_value", "more")),
    ],
)
def test_bad_orders(client: httpx.Client, changes: dict[str, Any], found: tuple[int, str, str]) -> None:
    body = {"input_file_id": upload(client, [chat("a")]), "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    assert problem(client.post("/v1/batches", json={**body, **changes})) == found


def test_a_file_for_another_purpose_is_refused(client: httpx.Client) -> None:
    file = client.post("/v1/files", files={"file": ("a", b"x")}, data={"purpose": "user_data"}).json()["id"]
    body = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    assert problem(client.post("/v1/batches", json=body)) == (400, "invalid_value", "input_file_id")


def test_a_cancelled_batch_gives_what_it_has(client: httpx.Client) -> None:
    made = begin(client, [chat(f"r{number}", model="fake-slow") for number in range(300)])
    while wait(client, made["id"], ("in_progress",))["request_counts"]["completed"] == 0:
        pass
    told = client.post(f"/v1/batches/{made['id']}/cancel").json()
    check(told)
    assert told["status"] in ("cancelling", "cancelled")
    done = wait(client, made["id"])
    check(done)
    assert done["status"] == "cancelled" and done["cancelled_at"]
    answers, rest = content(client, done["output_file_id"]), content(client, done["error_file_id"])
    assert 0 < len(answers) < 300 and len(answers) + len(rest) == 300
    assert {line["error"]["code"] for line in rest} == {"batch_cancelled"}
    assert done["request_counts"] == {"total": 300, "completed": len(answers), "failed": len(rest)}
    again = client.post(f"/v1/batches/{made['id']}/cancel")
    assert again.status_code in (200, 409)


def test_a_paused_batch_goes_on(client: httpx.Client, running: Live) -> None:
    made = begin(client, [chat(f"r{number}", model="fake-slow") for number in range(200)])
    job = "job_" + made["id"].removeprefix("batch_")
    while wait(client, made["id"], ("in_progress",))["request_counts"]["completed"] == 0:
        pass
    running.state.jobs.pause(job)
    while running.state.jobs.get(job).state is not JobState.PAUSED:
        pass
    paused = client.get(f"/v1/batches/{made['id']}").json()
    assert paused["status"] == "in_progress" and paused["request_counts"]["completed"] > 0
    running.state.jobs.resume(job)
    done = wait(client, made["id"])
    assert done["request_counts"] == {"total": 200, "completed": 200, "failed": 0}
    assert len({line["custom_id"] for line in content(client, done["output_file_id"])}) == 200


def test_a_paused_batch_that_is_cancelled_gives_what_it_has(client: httpx.Client, running: Live) -> None:
    made = begin(client, [chat(f"r{number}", model="fake-slow") for number in range(200)])
    job = "job_" + made["id"].removeprefix("batch_")
    while wait(client, made["id"], ("in_progress",))["request_counts"]["completed"] == 0:
        pass
    running.state.jobs.pause(job)
    while running.state.jobs.get(job).state is not JobState.PAUSED:
        pass
    done = client.post(f"/v1/batches/{made['id']}/cancel").json()
    check(done)
    assert done["status"] == "cancelled" and client.get(f"/v1/batches/{made['id']}").json() == done
    answers, rest = content(client, done["output_file_id"]), content(client, done["error_file_id"])
    assert 0 < len(answers) < 200 and len(answers) + len(rest) == 200


def test_pages_and_other_jobs(client: httpx.Client) -> None:
    ids = [begin(client, [chat("a")])["id"] for _ in range(3)]
    page = client.get("/v1/batches", params={"limit": 2}).json()
    check(page, "BatchListAnswer")
    assert [one["id"] for one in page["data"]] == ids[:0:-1] and page["has_more"]
    rest = client.get("/v1/batches", params={"limit": 100, "after": page["last_id"]}).json()
    assert rest["data"][0]["id"] == ids[0]
    for batch in ids:
        wait(client, batch)


@pytest.mark.parametrize("name", ["batch_none", "job_1", "none", "x" * 64])
def test_an_unknown_batch(client: httpx.Client, name: str) -> None:
    assert problem(client.get(f"/v1/batches/{name}")) == (404, "not_found", "batch_id")
    assert client.post(f"/v1/batches/{name}/cancel").status_code == 404


def test_the_socket_is_the_users_own(running: Live) -> None:
    socket = running.state.settings.run_folder / "broker.sock"
    assert socket.stat().st_mode & 0o777 == 0o600 and socket.stat().st_uid == os.getuid()


def test_the_socket_goes_with_the_server(tmp_path: Path) -> None:
    with batch_server(tmp_path, [fake_card()]) as served:
        socket = served.state.settings.run_folder / "broker.sock"
        assert socket.is_relative_to(tmp_path) and socket.exists()
    assert not socket.exists()
