"""completions: the four prompt forms, echo with log-probabilities, best_of, several prompts in one stream."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest


def ask(client: httpx.Client, **body: Any) -> Any:
    answer = client.post("/v1/completions", json={"model": "fake", "prompt": "abc", **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_default_is_sixteen_tokens(client: httpx.Client) -> None:
    assert ask(client, ignore_eos=True)["usage"]["completion_tokens"] == 16


@pytest.mark.parametrize("prompt", ["abc", [97, 98, 99], ["abc"], [[97, 98, 99]]])
def test_prompt_forms_mean_the_same(client: httpx.Client, prompt: Any) -> None:
    answer = ask(client, prompt=prompt, echo=True)
    assert [choice["text"] for choice in answer["choices"]] == ["abcHello world."]
    assert answer["usage"]["prompt_tokens"] == 3


def test_several_prompts_and_answers_are_numbered(client: httpx.Client) -> None:
    answer = ask(client, prompt=["a", "b"], n=2, echo=True, max_tokens=2)
    assert [(choice["index"], choice["text"]) for choice in answer["choices"]] == [(0, "aHe"), (1, "aHe"), (2, "bHe"), (3, "bHe")]


def test_echo_scores_the_prompt(client: httpx.Client) -> None:
    """As lm-evaluation-harness asks: the first token has no probability, the others have, with the chosen one in top."""
    logprobs = ask(client, prompt=[97, 98, 99], echo=True, logprobs=1, max_tokens=1)["choices"][0]["logprobs"]
    assert logprobs["tokens"] == ["a", "b", "c", "H"]
    assert logprobs["token_logprobs"] == [None, -0.98, -0.99, -0.1]
    assert logprobs["top_logprobs"][0] is None
    assert logprobs["top_logprobs"][1] == {"\x00": 0.0, "b": -0.98}
    assert logprobs["text_offset"] == [0, 1, 2, 3]


def test_echo_alone_generates_nothing(client: httpx.Client) -> None:
    answer = ask(client, echo=True, logprobs=0, max_tokens=0)
    [choice] = answer["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("abc", "length")
    assert choice["logprobs"]["token_logprobs"] == [None, -0.98, -0.99]
    assert answer["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 0,
        "total_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def test_partial_characters_stay_distinct(client: httpx.Client) -> None:
    tokens = ask(client, prompt="é", echo=True, logprobs=0, max_tokens=0)["choices"][0]["logprobs"]["tokens"]
    assert tokens == ["bytes:\\xc3", "bytes:\\xa9"]


def test_best_of(client: httpx.Client) -> None:
    answer = ask(client, best_of=3, n=1, max_tokens=2)
    assert len(answer["choices"]) == 1
    assert answer["usage"]["completion_tokens"] == 6
    assert answer["choices"][0]["logprobs"] is None


def test_stream_of_several_prompts(client: httpx.Client) -> None:
    body = {"model": "fake", "prompt": ["a", "b"], "stream": True, "echo": True, "stream_options": {"include_usage": True}}
    with client.stream("POST", "/v1/completions", json=body) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert lines.pop() == "[DONE]"
    chunks = [json.loads(line) for line in lines]
    texts = {0: "", 1: ""}
    for chunk in chunks[:-1]:
        texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
    assert texts == {0: "aHello world.", 1: "bHello world."}
    assert chunks[-1]["usage"]["prompt_tokens"] == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("suffix", "x"),
        ("prompt", []),
        ("prompt", [[]]),
        ("prompt", [97, "b"]),
        ("prompt", [99999]),
        ("prompt", [-1]),
        ("best_of", 17),
        ("logprobs", 21),
        ("max_tokens", 0),
        ("prompt_embeds", "AAAA"),
    ],
)
def test_refused_by_name(client: httpx.Client, field: str, value: Any) -> None:
    answer = client.post("/v1/completions", json={"model": "fake", "prompt": "abc", field: value})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"].startswith(field)


def test_best_of_below_n(client: httpx.Client) -> None:
    assert client.post("/v1/completions", json={"model": "fake", "prompt": "a", "n": 3, "best_of": 2}).status_code == 400
