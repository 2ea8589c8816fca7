"""The stock `openai` Python client against a live server with real models."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.conformance.conftest import CHAT, EMBEDDER, KEY
from tests.server.live import Live

ASK: Any = [{"role": "user", "content": "What is the capital of France?"}]
COUNT = "1, 2, 3, 4,"
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture
def client(real: Live) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{real.url}/v1", api_key=KEY, max_retries=0, timeout=120) as client:
        yield client


def test_models(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert {CHAT, EMBEDDER, "gpt-4o-mini"} <= set(names)
    assert client.models.retrieve("gpt-4o-mini").object == "model"


def test_chat(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=CHAT, messages=ASK, temperature=0, max_tokens=24)
    assert len(answer.choices[0].message.content or "") > 10
    assert answer.choices[0].message.role == "assistant"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_stream(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model=CHAT, messages=ASK, temperature=0, max_tokens=24, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)) > 10
    assert chunks[-1].usage is not None
    assert 1 < chunks[-1].usage.completion_tokens <= 24


def test_stream_is_the_same_text(client: OpenAI) -> None:
    """Counting leaves no near tie that the rounding of a cached prefix could turn (4-bit weights, 8-bit cache)."""
    whole = client.completions.create(model=CHAT, prompt=COUNT, temperature=0, max_tokens=12)
    stream = client.completions.create(model=CHAT, prompt=COUNT, temperature=0, max_tokens=12, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == whole.choices[0].text


def test_seed_repeats_and_n_differs(client: OpenAI) -> None:
    """A prompt shorter than a cache block, so that every call computes the same."""

    def draw(seed: int) -> list[str]:
        answer = client.completions.create(model=CHAT, prompt="Once", temperature=1, seed=seed, n=2, max_tokens=12)
        return [choice.text for choice in answer.choices]

    assert draw(7) == draw(7)
    assert draw(7)[0] != draw(7)[1] == draw(8)[0]  # answer i of n is drawn with seed + i


def test_stop(client: OpenAI) -> None:
    whole = client.completions.create(model=CHAT, prompt=COUNT, temperature=0, max_tokens=24)
    cut = client.completions.create(model=CHAT, prompt=COUNT, temperature=0, max_tokens=24, stop=["zzz", "7"])
    assert cut.choices[0].text == whole.choices[0].text.partition("7")[0]
    assert cut.choices[0].finish_reason == "stop"


def test_logprobs_with_alternatives(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=CHAT,
        messages=ASK,
        temperature=0,
        max_tokens=5,
        logprobs=True,
        top_logprobs=3,
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    assert "".join(entry.token for entry in logprobs.content) == answer.choices[0].message.content
    for entry in logprobs.content:
        assert len(entry.top_logprobs) == 3
        assert entry.logprob <= 0
        assert entry.top_logprobs[0].logprob >= entry.top_logprobs[1].logprob
        assert entry.token == entry.top_logprobs[0].token  # greedy


class Capital(BaseModel):
    country: str
    city: str


SCHEMA = {
    "type": "object",
    "properties": {"country": {"type": "string", "maxLength": 12}, "city": {"type": "string", "maxLength": 12}},
    "required": ["country", "city"],
    "additionalProperties": False,
}


def test_json_schema(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=CHAT,
        messages=ASK,
        temperature=0,
        max_tokens=100,
        response_format={"type": "json_schema", "json_schema": {"name": "capital", "strict": True, "schema": SCHEMA}},
    )
    assert Capital.model_validate_json(answer.choices[0].message.content or "")


def test_json_object(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=CHAT,
        messages=ASK,
        temperature=0,
        max_tokens=200,
        response_format={"type": "json_object"},
    )
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)
    else:
        assert (answer.choices[0].message.content or "").lstrip().startswith("{")


def test_completions_echo_and_logprobs(client: OpenAI) -> None:
    answer = client.completions.create(model=CHAT, prompt="The sky is", echo=True, logprobs=2, max_tokens=0, temperature=0)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.token_logprobs is not None and logprobs.tokens is not None
    assert answer.choices[0].text == "The sky is"
    assert logprobs.token_logprobs[0] is None
    assert all(value < 0 for value in logprobs.token_logprobs[1:])
    assert "".join(logprobs.tokens) == "The sky is"


def test_echo_agrees_with_generation(client: OpenAI) -> None:
    """The log-probability of a token is the same when it is written and when it is read, up to the rounding of two engines."""
    written = client.completions.create(model=CHAT, prompt="One two three four", logprobs=0, max_tokens=4, temperature=0)
    assert written.choices[0].logprobs is not None
    read = client.completions.create(
        model=CHAT, prompt="One two three four" + written.choices[0].text, echo=True, logprobs=0, max_tokens=0
    )
    assert read.choices[0].logprobs is not None
    assert read.choices[0].logprobs.token_logprobs is not None
    assert read.choices[0].logprobs.token_logprobs[-4:] == pytest.approx(written.choices[0].logprobs.token_logprobs, abs=0.2)


def test_token_ids_as_prompt(client: OpenAI, real: Live) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    ids = real.client.post("/tokenize", json={"model": CHAT, "prompt": COUNT}, headers=headers).json()["tokens"]
    by_ids = client.completions.create(model=CHAT, prompt=[ids, ids], temperature=0, max_tokens=6)
    by_text = client.completions.create(model=CHAT, prompt=COUNT, temperature=0, max_tokens=6)
    assert [choice.text for choice in by_ids.choices] == [by_text.choices[0].text] * 2


def test_embeddings(client: OpenAI) -> None:
    """The client asks for base64 by itself."""
    data = client.embeddings.create(model=EMBEDDER, input=["a cat", "a kitten", "the stock exchange"]).data
    cat, kitten, stock = (item.embedding for item in data)
    assert math.isclose(sum(value * value for value in cat), 1, rel_tol=1e-3)
    assert sum(map(float.__mul__, cat, kitten)) > sum(map(float.__mul__, cat, stock)) + 0.2


def test_responses(client: OpenAI) -> None:
    asked = "Say hello."
    answer = client.responses.create(model=CHAT, input=asked, temperature=0, max_output_tokens=200)
    assert (answer.status, answer.output[0].type) == ("completed", "message")
    with client.responses.stream(model=CHAT, input=asked, temperature=0, max_output_tokens=200) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == text != ""


def test_tools_of_a_model_without_them_are_an_error_that_says_so(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(model=CHAT, messages=ASK, tools=[WEATHER], max_tokens=10)
    assert refusal.value.param == "tools"


def test_errors(client: OpenAI, real: Live) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="no-such-model", messages=ASK)
    assert missing.value.param == "model"
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model=CHAT, messages=ASK, temperature=3)
    assert (bad.value.param, bad.value.type) == ("temperature", "invalid_request_error")
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": "x " * 20_000}])
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.AuthenticationError):
        OpenAI(base_url=f"{real.url}/v1", api_key="wrong", max_retries=0).models.list()
    assert bad.value.request_id


def idle(real: Live) -> bool:
    return sum(info.running for info in real.state.pool.loaded()) == 0 and real.state.admission.running == 0


def wait_until_idle(real: Live) -> None:
    end = time.monotonic() + 20
    while not idle(real):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_timeout_frees_the_engine(client: OpenAI, real: Live) -> None:
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.5).completions.create(
            model=CHAT, prompt="Once", max_tokens=1500, extra_body={"ignore_eos": True}
        )
    wait_until_idle(real)


def test_closing_a_stream_frees_the_engine(client: OpenAI, real: Live) -> None:
    stream = client.completions.create(model=CHAT, prompt="Once", max_tokens=1500, stream=True, extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    wait_until_idle(real)


async def test_many_at_once(real: Live) -> None:
    """Requests share the engine's batch and do not mix."""
    async with AsyncOpenAI(base_url=f"{real.url}/v1", api_key=KEY, max_retries=0, timeout=120) as client:

        async def ask(prompt: str) -> str:
            answer = await client.completions.create(model=CHAT, prompt=prompt, temperature=0, max_tokens=3)
            return answer.choices[0].text

        wanted = {
            "1, 2, 3, 4, 5, 6,": "7",
            "Monday, Tuesday, Wednesday,": "Thursday",
            "January, February, March,": "April",
            "a, b, c, d, e, f,": "g",
        }
        answers = await asyncio.gather(*(ask(prompt) for prompt in wanted))
    assert all(word in answer for word, answer in zip(wanted.values(), answers, strict=True)), answers
