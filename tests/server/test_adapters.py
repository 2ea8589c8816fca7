"""Responses, Ollama and Anthropic: the same answers in three dialects, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def post(client: httpx.Client, path: str, **body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def sse(client: httpx.Client, path: str, **body: Any) -> list[tuple[str, Any]]:
    """(event name, data) of a stream."""
    found, name = [], ""
    with client.stream("POST", path, json={**body, "stream": True}) as answer:
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                found.append((name, json.loads(line.removeprefix("data: "))))
    return found


def lines(client: httpx.Client, path: str, **body: Any) -> list[Any]:
    with client.stream("POST", path, json=body) as answer:
        assert answer.status_code == 200, answer.read()
        return [json.loads(line) for line in answer.iter_lines() if line]


# -- Responses -----------------------------------------------------------------------------------------------------------
def test_response(client: httpx.Client) -> None:
    answer = post(client, "/v1/responses", model="fake", input="Hi", instructions="Be brief.", metadata={"a": "b"})
    assert (answer["object"], answer["status"], answer["store"]) == ("response", "completed", False)
    assert answer["output"][0]["content"][0]["text"] == "Hello world."
    assert answer["metadata"] == {"a": "b"}
    assert answer["usage"]["output_tokens"] == 12


def test_response_cut_short_is_incomplete(client: httpx.Client) -> None:
    answer = post(client, "/v1/responses", model="fake", input="Hi", max_output_tokens=2)
    assert (answer["status"], answer["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


def test_response_stream_builds_the_response(client: httpx.Client) -> None:
    events = sse(client, "/v1/responses", model="fake", input="Hi")
    assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
    assert all(name == data["type"] for name, data in events)
    names = [name.removeprefix("response.") for name, _ in events]
    assert names[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert names[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    text = "".join(data["delta"] for name, data in events if name == "response.output_text.delta")
    assert text == events[-1][1]["response"]["output"][0]["content"][0]["text"] == "Hello world."


def test_response_tools_and_their_outputs(client: httpx.Client) -> None:
    tools = [{"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": True}]
    [call] = post(client, "/v1/responses", model="fake-tools", input="Weather?", tools=tools)["output"]
    assert (call["type"], call["name"], json.loads(call["arguments"])) == ("function_call", "get_weather", {"city": "Paris"})
    items = [
        {"role": "user", "content": "Weather?"},
        call,
        {"type": "function_call_output", "call_id": call["call_id"], "output": "Sun"},
    ]
    again = post(client, "/v1/responses", model="fake", input=items)
    assert again["output"][0]["content"][0]["text"] == "Hello world."
    events = sse(client, "/v1/responses", model="fake-tools", input="Weather?", tools=tools)
    done = next(data for name, data in events if name == "response.function_call_arguments.done")
    assert json.loads(done["arguments"]) == {"city": "Paris"}


def test_response_logprobs_and_schema(client: httpx.Client) -> None:
    answer = post(client, "/v1/responses", model="fake", input="Hi", include=["message.output_text.logprobs"], top_logprobs=1)
    assert len(answer["output"][0]["content"][0]["logprobs"]) == 12
    shape = {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}}}
    assert post(client, "/v1/responses", model="fake", input="Hi", text=shape)["output"][0]["content"][0]["text"] == '{"answer": 1}'


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("previous_response_id", "resp_1"),
        ("conversation", "conv_1"),
        ("background", True),
        ("store", True),
        ("truncation", "auto"),
        ("prompt", {"id": "p"}),
        ("include", ["file_search_call.results"]),
        ("tools", [{"type": "web_search"}]),
        ("reasoning", {"effort": "high"}),
        ("input", [{"type": "item_reference", "id": "x"}]),
        ("input", [{"type": "function_call", "name": "x"}]),
    ],
)
def test_response_refuses_by_name(client: httpx.Client, field: str, value: Any) -> None:
    answer = client.post("/v1/responses", json={"model": "fake", "input": "Hi", field: value})
    assert answer.status_code == 400, answer.text
    assert (answer.json()["error"]["param"] or "").startswith(field)


# -- Ollama --------------------------------------------------------------------------------------------------------------
def test_ollama_generate_streams_by_default(client: httpx.Client) -> None:
    found = lines(client, "/api/generate", model="fake", prompt="Hi", options={"temperature": 0})
    assert "".join(line["response"] for line in found) == "Hello world."
    assert [line["done"] for line in found] == [False] * (len(found) - 1) + [True]
    assert found[-1]["done_reason"] == "stop"
    assert found[-1]["eval_count"] == 12


def test_ollama_chat(client: httpx.Client) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    whole = post(client, "/api/chat", model="fake", messages=messages, stream=False, options={"num_predict": 3})
    assert whole["message"] == {"role": "assistant", "content": "Hel"}
    assert whole["done_reason"] == "length"
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
    found = lines(client, "/api/chat", model="fake-tools", messages=messages, tools=[tool])
    [call] = [call for line in found for call in line["message"].get("tool_calls", [])]
    assert call["function"] == {"name": "get_weather", "arguments": {"city": "Paris"}}
    schema = post(client, "/api/chat", model="fake", messages=messages, stream=False, format={"type": "object"})
    assert json.loads(schema["message"]["content"]) == {"answer": 1}


def test_ollama_loads_and_unloads(client: httpx.Client) -> None:
    assert post(client, "/api/generate", model="fake-seq2seq")["done_reason"] == "load"
    assert "fake-seq2seq" in [model["name"] for model in client.get("/api/ps").json()["models"]]
    assert post(client, "/api/generate", model="fake-seq2seq", keep_alive=0)["done_reason"] == "unload"
    assert "fake-seq2seq" not in [model["name"] for model in client.get("/api/ps").json()["models"]]


def test_ollama_lists_and_shows(client: httpx.Client) -> None:
    assert "fake" in [model["name"] for model in client.get("/api/tags").json()["models"]]
    assert "tools" in post(client, "/api/show", model="fake")["capabilities"]
    assert client.get("/api/version").json()["version"]
    assert len(post(client, "/api/embed", model="fake-encoder", input=["a", "b"])["embeddings"]) == 2


@pytest.mark.parametrize(
    "body",
    [
        {"template": "x"},
        {"context": [1]},
        {"images": ["x"]},
        {"options": {"mirostat": 1}},
        {"options": {"num_thread": 4}},
        {"options": {"num_ctx": 10**6}},
        {"keep_alive": "soon"},
    ],
)
def test_ollama_refuses_by_name_in_its_own_shape(client: httpx.Client, body: dict[str, Any]) -> None:
    answer = client.post("/api/generate", json={"model": "fake", "prompt": "Hi", **body})
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert isinstance(answer.json()["error"], str)


# -- Anthropic -----------------------------------------------------------------------------------------------------------
def test_anthropic_message(client: httpx.Client) -> None:
    answer = post(
        client,
        "/v1/messages",
        model="fake",
        max_tokens=50,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    )
    assert answer["content"] == [{"type": "text", "text": "Hello world."}]
    assert (answer["stop_reason"], answer["usage"]["output_tokens"]) == ("end_turn", 12)


def test_anthropic_stream(client: httpx.Client) -> None:
    events = sse(client, "/v1/messages", model="fake", max_tokens=3, messages=[{"role": "user", "content": "Hi"}])
    names = [name for name, _ in events]
    assert names[:2] == ["message_start", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert "".join(data["delta"]["text"] for name, data in events if name == "content_block_delta") == "Hel"
    assert events[-2][1]["delta"]["stop_reason"] == "max_tokens"


def test_anthropic_says_which_stop_sequence_ended_the_answer(client: httpx.Client) -> None:
    body = {"model": "fake", "max_tokens": 50, "stop_sequences": ["!", " wor"], "messages": [{"role": "user", "content": "Hi"}]}
    answer = post(client, "/v1/messages", **body)
    assert answer["content"] == [{"type": "text", "text": "Hello"}]
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", " wor")
    [(_, last)] = [found for found in sse(client, "/v1/messages", **body) if found[0] == "message_delta"]
    assert last["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": " wor"}
    unstopped = post(client, "/v1/messages", **{**body, "stop_sequences": ["!"]})
    assert (unstopped["stop_reason"], unstopped["stop_sequence"]) == ("end_turn", None)


def test_anthropic_tools(client: httpx.Client) -> None:
    tools = [{"name": "get_weather", "input_schema": SCHEMA}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Weather?"}]
    answer = post(client, "/v1/messages", model="fake-tools", max_tokens=200, messages=messages, tools=tools)
    [use] = answer["content"]
    assert (answer["stop_reason"], use["name"], use["input"]) == ("tool_use", "get_weather", {"city": "Paris"})
    messages += [
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use["id"], "content": "Sun"}]},
    ]
    assert post(client, "/v1/messages", model="fake", max_tokens=50, messages=messages)["stop_reason"] == "end_turn"
    assert post(client, "/v1/messages/count_tokens", model="fake", messages=messages)["input_tokens"] > 10
    events = sse(client, "/v1/messages", model="fake-tools", max_tokens=200, messages=messages[:1], tools=tools)
    [part] = [data["delta"]["partial_json"] for name, data in events if name == "content_block_delta"]
    assert json.loads(part) == {"city": "Paris"}


@pytest.mark.parametrize("field", [{"thinking": {"type": "enabled", "budget_tokens": 9}}, {"mcp_servers": [{}]}, {"max_tokens": 0}])
def test_anthropic_refuses_in_its_own_shape(client: httpx.Client, field: dict[str, Any]) -> None:
    body = {"model": "fake", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}], **field}
    answer = client.post("/v1/messages", json=body)
    assert answer.status_code == 400
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["type"] == "invalid_request_error"
