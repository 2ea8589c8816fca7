"""Promise P9: whatever a body says, the answer is a 4xx in the documented shape that names something, and the server lives on."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest

from tests.promises.levels import quick_or_full
from tests.server.live import Live

TURNS = quick_or_full(72, 720)  # of each of the 14 routes
HI = [{"role": "user", "content": "Hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
GOOD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "fake", "messages": HI, "max_tokens": 3, "stop": ["x"], "temperature": 0.5, "tools": [TOOL], "stream": False,
        "logit_bias": {"5": 1}, "response_format": {"type": "json_object"}, "metadata": {"a": "b"},
    },
    "/v1/completions": {"model": "fake", "prompt": [[97, 98]], "max_tokens": 3, "echo": True, "logprobs": 1, "n": 1},
    "/v1/embeddings": {"model": "fake-encoder", "input": ["a"], "encoding_format": "float"},
    "/v1/responses": {"model": "fake", "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}], "top_p": 1},
    "/v1/score": {"model": "fake", "prompt": "a", "continuations": ["b"]},
    "/v1/systemone": {"model": "fake", "state": {}, "questions": {"q": {"type": "noul", "instructions": "x"}}},
    "/v1/rerank": {"model": "fake-encoder", "query": "a", "documents": ["b", {"text": "c"}], "top_n": 1},
    "/v1/messages": {"model": "fake", "max_tokens": 3, "messages": HI, "system": "x", "stop_sequences": ["y"]},
    "/v1/tokenize": {"model": "fake", "prompt": "x"},
    "/v1/detokenize": {"model": "fake", "tokens": [97]},
    "/api/chat": {"model": "fake", "messages": HI, "stream": False, "options": {"temperature": 0, "stop": "x"}},
    "/api/generate": {"model": "fake", "prompt": "x", "stream": False, "format": "json"},
    "/api/embed": {"model": "fake-encoder", "input": "x"},
    "/api/v1/predict": {"model": "fake", "input": "a", "labels": ["b", "c"]},
}  # fmt: skip
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**63, 10**30, 1e308, 0.5, "", "x", "\x00", "\ud800", "é" * 50, "1", "fake", "__class__"),
    *([], [[]], [None], [1, "a"], [[1], "a"], ["a"] * 300, [{}]),
    *({}, {"a": {}}, {"type": "object"}, {"role": "user"}, {"$ref": "#"}),
]


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        found += places(value, (*path, key))
    return found


def mutate(body: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    body = copy.deepcopy(body)
    for _ in range(chance.choice((1, 1, 2))):
        *way, last = chance.choice(places(body))
        node: Any = body
        for key in way:
            node = node[key] if not isinstance(node, dict) or key in node else None
            if node is None:
                break
        if not isinstance(node, dict | list) or (isinstance(node, list) and last >= len(node)):
            continue
        what = chance.randrange(4)
        if what == 0 and isinstance(node, dict):
            node.pop(last, None)
        elif what == 1 and isinstance(node, dict):
            node[chance.choice(("extra", "chat_template", "api_base", "n", "seed", "suffix"))] = copy.deepcopy(chance.choice(ODD))
        else:
            node[last] = copy.deepcopy(chance.choice(ODD))
    return body


@pytest.mark.parametrize("path", GOOD)
def test_mutated_bodies(served: Live, path: str) -> None:
    seed = 20261122
    chance = random.Random(f"{seed}{path}")
    assert served.client.post(path, json=GOOD[path]).status_code in (200, 400), "a tool with a constraint may be refused"
    for turn in range(TURNS):
        body = json.dumps(mutate(GOOD[path], chance))
        answer = served.client.post(path, content=body.encode(), headers={"content-type": "application/json"})
        assert answer.status_code == 200 or 400 <= answer.status_code < 500, (seed, turn, path, body[:500], answer.text)
        if answer.status_code != 200:
            error = answer.json()["error"]
            assert error if isinstance(error, str) else error["message"]
    assert served.client.get("/healthz").status_code == 200
