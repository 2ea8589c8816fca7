"""The rest of the routes over doubles: models, embeddings, tokens, score, moderations, memory, metrics."""

from __future__ import annotations

import base64
import struct
from typing import Any

import httpx
import pytest

from tests.server.live import Live


def post(client: httpx.Client, path: str, **body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_models(client: httpx.Client) -> None:
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    one = next(model for model in listed["data"] if model["id"] == "fake")
    assert one["object"] == "model"
    assert client.get("/v1/models/fake").json() == one
    assert next(model for model in listed["data"] if model["id"] == "prod")["root"] == one["root"]
    missing = client.get("/v1/models/no/such")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert client.get("/v1/models/file:/etc/passwd").status_code == 400
    for name in ("/etc/model.gguf", "~/model", "./model.gguf", "file:/etc/passwd", "ollama:x"):
        refused = client.post("/api/v1/models/pull", json={"name": name, "stream": False})
        assert refused.status_code == 400 and "disk" in refused.json()["error"]["message"], name


def test_embeddings(client: httpx.Client) -> None:
    answer = post(client, "/v1/embeddings", model="fake-encoder", input=["ab", "c"])
    assert [item["index"] for item in answer["data"]] == [0, 1]
    vector = answer["data"][0]["embedding"]
    assert sum(value * value for value in vector) == pytest.approx(1, abs=1e-5)
    packed = post(client, "/v1/embeddings", model="fake-encoder", input="ab", encoding_format="base64")["data"][0]["embedding"]
    assert struct.unpack("<8f", base64.b64decode(packed)) == pytest.approx(vector)
    ids = client.post("/tokenize", json={"model": "fake-encoder", "prompt": "ab"}).json()["tokens"]
    assert post(client, "/v1/embeddings", model="fake-encoder", input=ids)["data"][0]["embedding"] == vector
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 0


@pytest.mark.parametrize(
    "body", [{"input": []}, {"input": ""}, {"input": "a", "dimensions": 3}, {"input": "x" * 5000}, {"input": "a", "extra": 1}]
)
def test_embeddings_refuse(client: httpx.Client, body: dict[str, Any]) -> None:
    answer = client.post("/v1/embeddings", json={"model": "fake-encoder", **body})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] in ("input", "dimensions", "extra")


def test_long_embedding_by_its_parts(client: httpx.Client) -> None:
    answer = post(client, "/v1/embeddings", model="fake-encoder", input="x" * 5000, long="mean")
    assert len(answer["data"][0]["embedding"]) == 8


def test_tokens_there_and_back(client: httpx.Client) -> None:
    text = "Grüße, 世界!"
    found = post(client, "/tokenize", model="fake", prompt=text, add_special_tokens=False, return_token_strs=True)
    assert found["count"] == len(found["tokens"]) == len(text.encode())
    assert post(client, "/detokenize", model="fake", tokens=found["tokens"])["prompt"] == text
    chat = post(client, "/v1/tokenize", model="fake", messages=[{"role": "user", "content": "Hi"}])
    assert chat["count"] > 2
    info = client.get("/tokenizer_info").json()
    assert info["eos_token"] == "<|im_end|>"
    assert "messages" in info["chat_template"]
    assert client.post("/tokenize", json={"model": "fake"}).status_code == 400
    assert client.post("/detokenize", json={"model": "fake", "tokens": [10**6]}).status_code == 400


def test_score(client: httpx.Client) -> None:
    data = post(client, "/v1/score", model="fake", prompt="x", continuations=["a", "ab"])["data"]
    assert [(item["logprob"], item["num_tokens"]) for item in data] == [(-0.97, 1), (pytest.approx(-1.95), 2)]


def test_score_of_label_tokens(client: httpx.Client) -> None:
    body = {"model": "fake", "query": "q", "items": ["1", "2"], "label_token_ids": [97, 98], "apply_softmax": True}
    scores = post(client, "/v1/score", **body)["scores"]
    assert [sum(row) for row in scores] == pytest.approx([1, 1])
    assert scores[0][0] > scores[0][1]
    assert client.post("/v1/score", json={"model": "fake", "prompt": "a", "query": "b"}).status_code == 400


def test_moderations_says_that_it_cannot(client: httpx.Client) -> None:
    answer = client.post("/v1/moderations", json={"input": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (501, "no_guard_model")


def test_memory(client: httpx.Client) -> None:
    loaded = post(client, "/api/v1/loaded", name="fake-seq2seq")
    assert loaded["card"]["name"] == "fake-seq2seq"
    names = [item["name"] for item in client.get("/api/v1/loaded").json()["loaded"]]
    assert "fake-seq2seq" in names
    assert client.delete("/api/v1/loaded/fake-seq2seq").json() == {"unloaded": "fake-seq2seq"}
    assert client.delete("/api/v1/loaded/fake-seq2seq").status_code == 404


def test_metrics_count_tokens(client: httpx.Client) -> None:
    post(client, "/v1/completions", model="fake", prompt="abc")
    text = client.get("/metrics").text
    assert 'llmos_output_tokens_total{model="fake"}' in text
    assert 'llmos_http_requests_total{method="POST",route="/v1/completions",status="200"}' in text
    client.get("/some/strange/path")
    assert "strange" not in client.get("/metrics").text


def test_health(served: Live) -> None:
    assert served.client.get("/healthz").json() == {"status": "ok"}
    assert served.client.get("/readyz").status_code == 200
    served.state.draining = True
    try:
        assert served.client.get("/readyz").status_code == 503
    finally:
        served.state.draining = False
