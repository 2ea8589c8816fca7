"""P17 on a live server with real models: an engine process that is killed costs its own requests and nothing else."""

from __future__ import annotations

import os
import signal

import httpx
import openai
import pytest
from openai import OpenAI

from tests.conformance.conftest import CHAT, EMBEDDER, KEY
from tests.server.live import Live


@pytest.fixture
def client(real: Live) -> OpenAI:
    return OpenAI(base_url=f"{real.url}/v1", api_key=KEY, max_retries=0, timeout=120)


def _pids(real: Live) -> dict[str, int]:
    answer = httpx.get(f"{real.url}/api/v1/loaded", headers={"authorization": f"Bearer {KEY}"}, timeout=30)
    return {item["name"]: item["pid"] for item in answer.json()["loaded"]}


def test_a_killed_engine_fails_only_its_own_requests_and_comes_back(real: Live, client: OpenAI) -> None:
    client.embeddings.create(model=EMBEDDER, input="warm")
    stream = client.chat.completions.create(
        model=CHAT,
        messages=[{"role": "user", "content": "Write a very long story about the sea."}],
        max_tokens=2000,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    next(iter(stream))
    before = _pids(real)
    os.kill(before[CHAT], signal.SIGKILL)
    with pytest.raises(openai.APIError, match="engine"):
        for _ in stream:
            pass
    assert len(client.embeddings.create(model=EMBEDDER, input="unmoved").data[0].embedding) == 384
    again = client.chat.completions.create(
        model=CHAT, messages=[{"role": "user", "content": "Say hello."}], max_tokens=8, temperature=0
    )
    assert again.choices[0].message.content
    after = _pids(real)
    assert after[CHAT] != before[CHAT]
    assert after[EMBEDDER] == before[EMBEDDER]
