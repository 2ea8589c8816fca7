"""LLMOS's own routes, rerank and typed decisions on real models and a real library."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.conftest import CHAT, EMBEDDER, KEY
from tests.server.live import Live

HEADERS = {"authorization": f"Bearer {KEY}"}


def call(real: Live, method: str, path: str, status: int = 200, **body: Any) -> Any:
    answer = real.client.request(method, path, json=body or None, headers=HEADERS)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_library(real: Live) -> None:
    names = [card["name"] for card in call(real, "GET", "/api/v1/models")["models"]]
    assert {CHAT, EMBEDDER} <= set(names)
    card = call(real, "GET", f"/api/v1/models/{CHAT}")
    assert (card["family"], card["format"]) == ("causal", "gguf")
    assert call(real, "POST", "/api/v1/models/verify", name=EMBEDDER)["files"]
    call(real, "POST", "/api/v1/models/gc", dry_run=True)
    assert call(real, "GET", "/api/v1/models/no-such", status=404)["error"]["code"] == "not_found"


@pytest.mark.parametrize("name", ["file:/etc/passwd", "ollama:llama3", " FILE:/etc/passwd"])
def test_the_disk_of_the_server_is_out_of_reach(real: Live, name: str) -> None:
    assert call(real, "POST", "/api/v1/models/pull", 400, name=name)["error"]["param"] == "model"
    call(real, "POST", "/v1/completions", 400, model=name, prompt="x")
    call(real, "PUT", "/api/v1/aliases/mine", 400, target=name)


def test_aliases(real: Live) -> None:
    call(real, "PUT", "/api/v1/aliases/prod", target=CHAT, reason="first")
    call(real, "PUT", "/api/v1/aliases/prod", target=EMBEDDER, reason="second")
    assert call(real, "GET", "/api/v1/aliases")["aliases"]["prod"] == EMBEDDER
    assert call(real, "POST", "/api/v1/aliases/prod/rollback")["target"] == CHAT
    assert len(call(real, "GET", "/api/v1/aliases/prod/history")["history"]) == 3
    call(real, "DELETE", "/api/v1/aliases/prod")
    call(real, "GET", "/v1/models/prod", status=404)


def test_predict_and_rerank_by_an_encoder(real: Live) -> None:
    body: dict[str, Any] = {
        "model": EMBEDDER,
        "input": ["I love this film.", "The stock market fell."],
        "labels": ["cinema", "finance"],
    }
    found = call(real, "POST", "/api/v1/predict", **body)["predictions"]
    assert [one["label"] for one in found] == ["cinema", "finance"]
    assert sum(found[0]["probabilities"].values()) == pytest.approx(1)
    documents = ["The stock market fell.", "A film about love."]
    ranked = call(real, "POST", "/v1/rerank", model=EMBEDDER, query="cinema", documents=documents, return_documents=True)["results"]
    assert [one["index"] for one in ranked] == [1, 0]
    assert ranked[0]["document"]["text"] == documents[1]


def test_systemone(real: Live) -> None:
    answer = call(
        real,
        "POST",
        "/v1/systemone",
        model=EMBEDDER,
        state="The stock market fell by ten percent.",
        questions={
            "topic": {
                "type": "choice",
                "instructions": "What is it about?",
                "criteria": {"sport": None, "finance": "money and markets"},
            },
            "mood": {"type": "score", "instructions": "How good is the news?", "criteria": ["very bad", "neutral", "very good"]},
            "money": {"type": "noul", "instructions": "It is about money."},
        },
    )
    topic, mood, money = (answer["answers"][name] for name in ("topic", "mood", "money"))
    assert topic["choice"] == "finance"
    assert sum(topic["probabilities"].values()) == pytest.approx(1)
    assert 0 <= mood["score"] <= 2
    assert mood["legend"]["2"] == "very good"
    assert 0 <= money["noul"] <= 1
    assert answer["usage"]["output_tokens"] == 0
    bad = call(real, "POST", "/v1/systemone", 400, model=EMBEDDER, state="x", questions={"a": {"type": "essay"}})
    assert bad["error"]["param"].startswith("questions")


def test_predict_by_a_causal_model(real: Live) -> None:
    body: dict[str, Any] = {"model": CHAT, "input": "I love this film.", "labels": ["positive", "negative"]}
    [found] = call(real, "POST", "/api/v1/predict", **body)["predictions"]
    assert set(found["probabilities"]) == {"positive", "negative"}
    assert found["strategy"]


def test_translate_and_summarize(real: Live) -> None:
    refused = call(real, "POST", "/api/v1/translate", 400, model=CHAT, input="Hi", target_language="fr")
    assert "Supported: English" in refused["error"]["message"]
    texts = call(real, "POST", "/api/v1/translate", model=CHAT, input=["Bonjour."], target_language="English", max_tokens=30)[
        "texts"
    ]
    assert len(texts) == 1
    bad = call(real, "POST", "/api/v1/translate", 400, model=CHAT, input="Hi", target_language="klingon")
    assert "klingon" in bad["error"]["message"]
    assert call(real, "POST", "/api/v1/summarize", model=CHAT, input="The cat sat on the mat. It was happy.", max_tokens=30)[
        "texts"
    ][0]
