"""chat/completions over doubles: every branch of the answer, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

HI = [{"role": "user", "content": "Hi"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def ask(client: httpx.Client, **body: Any) -> Any:
    answer = client.post("/v1/chat/completions", json={"model": "fake", "messages": HI, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def events(client: httpx.Client, **body: Any) -> list[Any]:
    with client.stream("POST", "/v1/chat/completions", json={"model": "fake", "messages": HI, "stream": True, **body}) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_whole_answer(client: httpx.Client) -> None:
    answer = ask(client)
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "fake"
    [choice] = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Hello world.", "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert choice["logprobs"] is None
    usage = answer["usage"]
    assert usage["completion_tokens"] == 12
    assert usage["total_tokens"] == usage["prompt_tokens"] + 12


def test_the_engine_is_named(client: httpx.Client) -> None:
    answer = client.post("/v1/chat/completions", json={"model": "fake", "messages": HI})
    assert answer.headers["x-llmos-engine"].startswith("fake")
    assert answer.json()["system_fingerprint"] == answer.headers["x-llmos-engine"]


def test_stream_gives_the_same_text(client: httpx.Client) -> None:
    chunks = events(client, stream_options={"include_usage": True})
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"])
    assert text == "Hello world."
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]][-1] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 12
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


def test_max_tokens_and_its_two_names(client: httpx.Client) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        choice = ask(client, **{name: 3})["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("Hel", "length")


def test_stop_is_not_part_of_the_answer(client: httpx.Client) -> None:
    assert ask(client, stop=" wor")["choices"][0]["message"]["content"] == "Hello"
    assert ask(client, stop=["zzz", "o"])["choices"][0]["message"]["content"] == "Hell"


def test_n_answers(client: httpx.Client) -> None:
    assert [choice["index"] for choice in ask(client, n=3)["choices"]] == [0, 1, 2]
    indexes = {chunk["choices"][0]["index"] for chunk in events(client, n=2)}
    assert indexes == {0, 1}


def test_logprobs_with_alternatives(client: httpx.Client) -> None:
    content = ask(client, logprobs=True, top_logprobs=2)["choices"][0]["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content) == "Hello world."
    assert content[0]["logprob"] == -0.1
    assert [len(entry["top_logprobs"]) for entry in content] == [2] * 12
    assert content[0]["bytes"] == [ord("H")]
    streamed = [entry for chunk in events(client, logprobs=True) for entry in chunk["choices"][0]["logprobs"]["content"]]
    assert [entry["token"] for entry in streamed] == [entry["token"] for entry in content]


def test_tool_call(client: httpx.Client) -> None:
    choice = ask(client, model="fake-tools", tools=[WEATHER])["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    [call] = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}
    assert choice["message"]["content"] is None


def test_tool_call_streamed(client: httpx.Client) -> None:
    chunks = events(client, model="fake-tools", tools=[WEATHER])
    calls = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert [(call["index"], call["function"]["name"]) for call in calls] == [(0, "get_weather")]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_strict_tool_with_arguments_that_break_the_schema_is_an_error(client: httpx.Client) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "integer"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "get_weather", "strict": True, "parameters": schema}}
    answer = client.post("/v1/chat/completions", json={"model": "fake-tools", "messages": HI, "tools": [tool]})
    assert answer.status_code == 500
    assert "get_weather" in answer.json()["error"]["message"]


def test_tool_conversation_is_accepted(client: httpx.Client) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    messages = [
        *HI,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "ok"},
    ]
    assert ask(client, messages=messages)["choices"][0]["message"]["content"] == "Hello world."


def test_json_schema(client: httpx.Client) -> None:
    schema = {"type": "object", "properties": {"answer": {"type": "integer"}}}
    answer = ask(client, response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}})
    assert json.loads(answer["choices"][0]["message"]["content"]) == {"answer": 1}


def test_content_parts_are_joined(client: httpx.Client) -> None:
    parts = [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]
    one, two = ask(client), ask(client, messages=[{"role": "user", "content": parts}])
    assert one["usage"]["prompt_tokens"] == two["usage"]["prompt_tokens"]


def test_metadata_is_echoed(client: httpx.Client) -> None:
    assert ask(client, metadata={"a": "b"})["metadata"] == {"a": "b"}


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("audio", {"voice": "x"}, "audio"),
        ("function_call", "auto", "function_call"),
        ("functions", [{}], "functions"),
        ("moderation", {"model": "m"}, "moderation"),
        ("prediction", {"type": "content", "content": "x"}, "prediction"),
        ("web_search_options", {}, "web_search_options"),
        ("chat_template", "{{ x }}", "chat_template"),
        ("trust_remote_code", True, "trust_remote_code"),
        ("modalities", ["text", "audio"], "modalities"),
        ("service_tier", "flex", "service_tier"),
        ("store", True, "store"),
        ("verbosity", "high", "verbosity"),
        ("reasoning_effort", "high", "reasoning_effort"),
        ("prompt_cache_retention", "24h", "prompt_cache_retention"),
        ("prompt_cache_options", {"mode": "explicit"}, "prompt_cache_options.mode"),
        ("made_up", 1, "made_up"),
        ("temperature", 3, "temperature"),
        ("temperature", "hot", "temperature"),
        ("top_p", 0, "top_p"),
        ("n", 17, "n"),
        ("stop", ["x"] * 17, "stop"),
        ("logit_bias", {"x": 1}, "logit_bias"),
        ("logit_bias", {"5": 101}, "logit_bias"),
        ("max_tokens", 0, "max_tokens"),
        ("max_tokens", 100000, "max_tokens"),
        ("top_logprobs", 5, "top_logprobs"),
        ("stream_options", {"include_usage": True}, "stream_options"),
        ("messages", [], "messages"),
        ("messages", [{"role": "robot", "content": "x"}], "messages[0].role"),
        ("messages", [{"role": "tool", "content": "x"}], "messages[0].tool_call_id"),
        ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], None),
        ("tool_choice", "nothing", None),
        ("tools", [{"type": "function", "function": {"name": "bad name"}}], "tools[0].function.name"),
        ("response_format", {"type": "json_schema"}, "response_format.json_schema"),
        ("model", "file:/etc/passwd", "model"),
    ],
)
def test_what_is_not_served_is_refused_by_name(client: httpx.Client, field: str, value: Any, param: str | None) -> None:
    answer = client.post("/v1/chat/completions", json={"model": "fake", "messages": HI, field: value})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    if param:
        assert error["param"] == param
    assert field in json.dumps(error)


def test_every_documented_field_is_known() -> None:
    """The fields of the installed OpenAI client, which is generated from OpenAI's own specification."""
    from openai.types import CompletionCreateParams, EmbeddingCreateParams
    from openai.types.chat import completion_create_params
    from openai.types.completion_create_params import CompletionCreateParamsBase
    from openai.types.responses import response_create_params

    from llmos.server.routes.chat import ChatBody
    from llmos.server.routes.completions import CompletionBody
    from llmos.server.routes.embeddings import EmbeddingBody
    from llmos.server.routes.responses import ResponseBody

    assert CompletionCreateParams
    for documented, body in (
        (completion_create_params.CompletionCreateParamsBase, ChatBody),
        (CompletionCreateParamsBase, CompletionBody),
        (response_create_params.ResponseCreateParamsBase, ResponseBody),
        (EmbeddingCreateParams, EmbeddingBody),
    ):
        unknown = set(documented.__annotations__) - set(body.model_fields) - set(body.refused)
        assert unknown == set(), body


def test_unknown_model_is_404(client: httpx.Client) -> None:
    answer = client.post("/v1/chat/completions", json={"model": "fakee", "messages": HI})
    assert answer.status_code == 404
    assert answer.json()["error"]["param"] == "model"
    assert "fake" in answer.json()["error"]["message"]


def test_error_of_the_engine_before_the_first_token_has_its_status(client: httpx.Client) -> None:
    body = {"model": "fake-fail", "messages": [{"role": "user", "content": "please fail"}]}
    for stream in (False, True):
        answer = client.post("/v1/chat/completions", json={**body, "stream": stream})
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "engine_error"


def test_encoder_cannot_chat(client: httpx.Client) -> None:
    answer = client.post("/v1/chat/completions", json={"model": "fake-encoder", "messages": HI})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unsupported_feature"
