"""schema/openapi.json is what the app's routes say, and what they say about their answers is true."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from llmos.server import answers, schema

HI = [{"role": "user", "content": "Hi"}]
CHAT = {"model": "fake", "messages": HI, "max_tokens": 3}
LOGPROBS = {"logprobs": True, "top_logprobs": 2}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
ASKED: list[tuple[str, dict[str, Any] | None, str]] = [
    ("/v1/models", None, "ModelList"),
    ("/v1/models/fake", None, "ModelEntry"),
    ("/v1/chat/completions", CHAT, "ChatAnswer"),
    ("/v1/chat/completions", {**CHAT, **LOGPROBS, "metadata": {"a": "b"}, "service_tier": "auto"}, "ChatAnswer"),
    ("/v1/chat/completions", {"model": "fake-tools", "messages": HI, "tools": [TOOL]}, "ChatAnswer"),
    ("/v1/completions", {"model": "fake", "prompt": ["a", "b"], "n": 2}, "CompletionAnswer"),
    ("/v1/completions", {"model": "fake", "prompt": "ab", "echo": True, "logprobs": 2}, "CompletionAnswer"),
    ("/v1/embeddings", {"model": "fake-encoder", "input": ["a", "b"]}, "EmbeddingAnswer"),
    ("/v1/embeddings", {"model": "fake-encoder", "input": "a", "encoding_format": "base64"}, "EmbeddingAnswer"),
    ("/v1/rerank", {"model": "fake-encoder", "query": "a", "documents": ["b"], "return_documents": True}, "RerankAnswer"),
    ("/api/v1/predict", {"model": "fake-classifier", "input": "a", "labels": ["positive", "negative"]}, "PredictAnswer"),
    ("/api/v1/translate", {"model": "fake", "input": "a", "target_language": "fr"}, "TextsAnswer"),
    ("/api/v1/summarize", {"model": "fake", "input": ["a", "b"]}, "TextsAnswer"),
    ("/v1/chat/completions", {"model": "fake"}, "ErrorAnswer"),
    ("/v1/completions", {"model": "nobody", "prompt": "a"}, "ErrorAnswer"),
    ("/api/v1/predict", {"model": "fake"}, "ErrorAnswer"),
    ("/v1/models/nobody", None, "ErrorAnswer"),
    ("/v1/messages", {"model": "fake"}, "AnthropicError"),
    ("/v1/messages/count_tokens", {"model": "fake"}, "AnthropicError"),
    ("/api/chat", {"model": "nobody"}, "OllamaError"),
]
STREAMED = [
    ("/v1/chat/completions", {**CHAT, **LOGPROBS, "stream_options": {"include_usage": True}}, "ChatChunk"),
    ("/v1/chat/completions", {"model": "fake-tools", "messages": HI, "tools": [TOOL]}, "ChatChunk"),
    ("/v1/completions", {"model": "fake", "prompt": "a", "stream_options": {"include_usage": True}}, "CompletionAnswer"),
]


def check(name: str, value: Any) -> None:
    """Raises when `value` is not what the model `name` of answers.py says."""
    Draft202012Validator(getattr(answers, name).model_json_schema(mode="serialization")).validate(value)


def test_schema_file_is_current() -> None:
    assert schema.PATH.read_text() == schema.text(), "run: python -m llmos.server.schema"


@pytest.mark.parametrize(("path", "body", "name"), ASKED)
def test_answers_are_as_documented(client: httpx.Client, path: str, body: dict[str, Any] | None, name: str) -> None:
    answer = client.get(path) if body is None else client.post(path, json=body)
    assert answer.is_error == ("Error" in name), answer.text
    check(name, answer.json())


@pytest.mark.parametrize(("path", "body", "name"), STREAMED)
def test_chunks_are_as_documented(client: httpx.Client, path: str, body: dict[str, Any], name: str) -> None:
    with client.stream("POST", path, json={**body, "stream": True}) as answer:
        assert answer.status_code == 200, answer.read()
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert lines.pop() == "[DONE]"
    assert len(lines) > 1
    for line in lines:
        check(name, json.loads(line))


@pytest.mark.parametrize(("path", "name"), sorted({(path, name) for path, body, name in ASKED if "Error" not in name and body}))
def test_the_document_types_the_answer(path: str, name: str) -> None:
    document = json.loads(schema.text())
    said = document["paths"][path]["post"]["responses"]
    assert said["200"]["content"]["application/json"]["schema"] == {"$ref": f"#/components/schemas/{name}"}
    assert said["default"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorAnswer"}
    assert "422" not in said
