"""Files and batches with the stock `openai` Python client, to the end of a batch, with real models."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types import Batch

from llmos.engine.batch.engines import WORTH_AN_ENGINE
from tests.conformance.conftest import CHAT, EMBEDDER, KEY
from tests.server.live import Live

OVER = ("completed", "failed", "expired", "cancelled")


@pytest.fixture
def client(real: Live) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{real.url}/v1", api_key=KEY, max_retries=0, timeout=120) as client:
        yield client


def lines(endpoint: str, bodies: list[dict[str, Any]]) -> bytes:
    rows = [{"custom_id": f"r{number}", "method": "POST", "url": endpoint, "body": body} for number, body in enumerate(bodies)]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def until_over(client: OpenAI, batch: Batch) -> Batch:
    end = time.monotonic() + 150
    while batch.status not in OVER:
        assert time.monotonic() < end, batch
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    return batch


def results(client: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id is not None
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]


def test_files(client: OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_bytes(b'{"a": 1}\n' * 1000)
    made = client.files.create(file=path, purpose="user_data", expires_after={"anchor": "created_at", "seconds": 7200})
    assert (made.object, made.bytes, made.filename, made.purpose, made.status) == (
        "file",
        9000,
        "notes.jsonl",
        "user_data",
        "processed",
    )
    assert made.expires_at == made.created_at + 7200
    assert client.files.retrieve(made.id) == made
    second = client.files.create(file=("b.txt", io.BytesIO(b"x")), purpose="user_data")
    assert [file.id for file in client.files.list(purpose="user_data", limit=1)] == [second.id, made.id]  # two pages
    assert client.files.content(made.id).read() == path.read_bytes()
    with client.files.with_streaming_response.content(made.id) as streamed:
        assert sum(len(piece) for piece in streamed.iter_bytes(1000)) == 9000
    assert client.files.delete(made.id).deleted and client.files.delete(second.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)
    with pytest.raises(openai.BadRequestError) as refused:
        client.files.create(file=path, purpose="fun")  # type: ignore[arg-type]
    assert refused.value.param == "purpose"


def test_a_batch_of_chats(client: OpenAI) -> None:
    bodies: list[dict[str, Any]] = [
        {
            "model": "gpt-4o-mini",
            "messages": [
                {"role": "system", "content": "You answer briefly."},
                {"role": "user", "content": f"What is {number} + 1?"},
            ],
            "max_tokens": 4 + number,
            "temperature": 0,
        }
        for number in range(8)
    ]
    bodies[5]["top_logprobs"] = 99
    file = client.files.create(file=("in.jsonl", lines("/v1/chat/completions", bodies)), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"nightly": "yes"}
    )
    assert batch.object == "batch" and batch.metadata == {"nightly": "yes"} and batch.status == "validating"
    batch = until_over(client, batch)
    assert batch.status == "completed" and batch.request_counts is not None
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (8, 7, 1)
    answers = results(client, batch.output_file_id)
    assert [line["custom_id"] for line in answers] == [f"r{number}" for number in range(8) if number != 5]
    for line in answers:
        chat = openai.types.chat.ChatCompletion.model_validate(line["response"]["body"])
        assert chat.choices[0].message.content and chat.usage is not None
    [failed] = results(client, batch.error_file_id)
    assert failed["custom_id"] == "r5" and failed["response"]["body"]["error"]["param"] == "top_logprobs"
    assert batch.usage is not None and batch.usage.output_tokens > 0
    assert batch.id in [one.id for one in client.batches.list(limit=1)]


def test_prompts_with_much_in_common_get_an_engine_that_shares_it(client: OpenAI, real: Live) -> None:
    rules = " ".join(f"Rule {number}: an answer names the number {number} when it is asked to." for number in range(20))
    bodies: list[dict[str, Any]] = [
        {
            "model": CHAT,
            "messages": [{"role": "system", "content": rules}, {"role": "user", "content": f"What is {number} + 1?"}],
            "max_tokens": 2,
        }
        for number in range(WORTH_AN_ENGINE)
    ]
    file = client.files.create(file=("in.jsonl", lines("/v1/chat/completions", bodies)), purpose="batch")
    order = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    batch = until_over(client, order)
    assert batch.status == "completed" and batch.usage is not None
    assert batch.usage.input_tokens > 300 * WORTH_AN_ENGINE
    sharing = [info for info in real.state.pool.loaded() if info.for_batches]
    assert [(info.name, info.engine) for info in sharing] == [(CHAT, "openvino")]


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/embeddings", {"model": EMBEDDER, "input": ["One text.", "Another one."]}),
        ("/v1/completions", {"model": CHAT, "prompt": "1, 2, 3, 4,", "max_tokens": 6, "temperature": 0}),
        ("/v1/responses", {"model": CHAT, "input": "Say hello.", "max_output_tokens": 6, "temperature": 0}),
    ],
)
def test_the_other_endpoints(client: OpenAI, endpoint: Any, body: dict[str, Any]) -> None:
    file = client.files.create(file=("in.jsonl", lines(endpoint, [body] * 3)), purpose="batch")
    batch = until_over(client, client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h"))
    assert batch.status == "completed" and len(results(client, batch.output_file_id)) == 3


def test_an_invalid_file(client: OpenAI) -> None:
    file = client.files.create(file=("in.jsonl", b"{}\nnot json\n"), purpose="batch")
    batch = until_over(client, client.batches.create(input_file_id=file.id, endpoint="/v1/completions", completion_window="24h"))
    assert batch.status == "failed" and batch.errors is not None and batch.errors.data is not None
    assert [(one.line, one.code) for one in batch.errors.data] == [(1, "missing_required_parameter"), (2, "invalid_json_line")]


def test_cancel(client: OpenAI) -> None:
    body = {"model": CHAT, "prompt": "Once", "max_tokens": 200, "ignore_eos": True}
    file = client.files.create(file=("in.jsonl", lines("/v1/completions", [body] * 200)), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/completions", completion_window="24h")
    assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    assert until_over(client, batch).status == "cancelled"
