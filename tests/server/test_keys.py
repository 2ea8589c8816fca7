"""Keys, projects, usage and audit over HTTP; rate-limit headers; what a key of one project does not see."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from llmos.server import access_answers
from llmos.server.guard import duration
from llmos.settings import Settings
from tests.doubles import fake_pool
from tests.server.live import live
from tests.server.locked import ADMIN, Locked, bearer, locked

CHAT: dict[str, Any] = {"model": "fake", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    with locked(tmp_path_factory.mktemp("keys")) as running:
        yield running


def check(name: str, answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    Draft202012Validator(getattr(access_answers, name).model_json_schema(mode="serialization")).validate(answer.json())
    return answer.json()


def test_the_life_of_a_key(served: Locked) -> None:
    made = check("NewKeyAnswer", served.ask("POST", "/api/v1/keys", json={"name": "alice", "scopes": ["inference"]}))
    assert served.ask("GET", "/v1/models", made["key"]).status_code == 200
    shown = check("KeyAnswer", served.ask("GET", "/api/v1/keys/alice"))
    assert (shown["id"], shown["state"]) == (made["id"], "active")
    listed = check("KeyListAnswer", served.ask("GET", "/api/v1/keys"))
    assert made["key"] not in str(listed)
    new = check("NewKeyAnswer", served.ask("POST", "/api/v1/keys/alice/rotate", json={"grace_s": 3600}))
    for key in (made["key"], new["key"]):
        assert served.ask("GET", "/v1/models", key).status_code == 200
    check("KeyAnswer", served.ask("POST", f"/api/v1/keys/{new['id']}/revoke"))
    refused = served.ask("GET", "/v1/models", new["key"])
    assert (refused.status_code, "revoked" in refused.text) == (401, True)
    assert served.ask("GET", "/v1/models", made["key"]).status_code == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": "a\u202eb"}, "name"),
        ({"name": "a", "scopes": ["root"]}, "scopes[0]"),
        ({"name": "a", "quotas": {"requests_per_minute": -1}}, "quotas.requests_per_minute"),
        ({"name": "a", "quotas": {"request_per_minute": 1}}, "quotas.request_per_minute"),
        ({"name": "a", "project": "No Name"}, "project"),
        ({"name": "a", "key": "llmos_mine"}, "key"),
    ],
)
def test_bad_fields_are_named(served: Locked, body: dict[str, Any], param: str) -> None:
    answer = served.ask("POST", "/api/v1/keys", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_a_key_opens_what_its_scopes_say(served: Locked) -> None:
    keys = {scope: served.key(f"of {scope}", scopes=(scope,)) for scope in ("inference", "jobs", "library", "metrics", "admin")}
    wanted = {
        ("GET", "/v1/models"): {"inference", "admin"},
        ("GET", "/v1/files"): {"jobs", "admin"},
        ("GET", "/metrics"): {"metrics", "admin"},
        ("GET", "/api/v1/keys"): {"admin"},
        ("GET", "/api/v1/audit"): {"admin"},
        ("POST", "/api/v1/models/gc"): {"admin"},
        ("GET", "/openapi.json"): {"inference", "jobs", "library", "metrics", "admin"},
    }
    for (method, path), scopes in wanted.items():
        for scope, key in keys.items():
            answer = served.ask(method, path, key, json=None if method == "GET" else {})
            assert (answer.status_code != 403) == (scope in scopes), (path, scope, answer.text)
            if answer.status_code == 403:
                assert answer.json()["error"]["code"] == "scope_missing"


def test_quota_headers_and_refusal_are_openais(served: Locked) -> None:
    key = served.key("limited", requests_per_day=2, tokens_per_day=100_000)
    first = served.ask("POST", "/v1/chat/completions", key, json=CHAT)
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert first.headers["x-ratelimit-limit-tokens"] == "100000"
    assert re.fullmatch(r"(\d+h)?(\d+m)?[\d.]+s", first.headers["x-ratelimit-reset-requests"])
    served.ask("POST", "/v1/chat/completions", key, json=CHAT)
    refused = served.ask("POST", "/v1/chat/completions", key, json=CHAT)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"


def test_tokens_are_charged_as_they_were_used(served: Locked) -> None:
    key = served.key("counted", tokens_per_day=1_000_000)
    usage = served.ask("POST", "/v1/chat/completions", key, json=CHAT).json()["usage"]
    after = int(served.ask("GET", "/v1/models", key).headers["x-ratelimit-remaining-tokens"])
    assert 1_000_000 - after == usage["total_tokens"]


def test_usage_is_by_key_and_model(served: Locked) -> None:
    key = served.key("used")
    for _ in range(2):
        served.ask("POST", "/v1/chat/completions", key, json=CHAT)
    with served.client.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": True}, headers=bearer(key)) as answer:
        answer.read()
    served.ask("POST", "/api/v1/predict", key, json={"model": "fake-classifier", "input": "a", "labels": ["positive", "negative"]})
    rows = check("UsageAnswer", served.ask("GET", "/api/v1/usage", key))["usage"]
    assert {row["model"]: row["requests"] for row in rows} == {"fake": 3, "fake-classifier": 1}
    assert all(row["prompt_tokens"] > 0 for row in rows)
    named = check("UsageAnswer", served.ask("GET", "/api/v1/usage", params={"key": "used"}))["usage"]
    assert named == rows
    other = served.key("other")
    assert served.ask("GET", "/api/v1/usage", other).json() == {"usage": []}
    assert served.ask("GET", "/api/v1/usage", other, params={"key": rows[0]["key_id"]}).status_code == 404


def test_contents_are_logged_for_the_project_that_wants_it(tmp_path: Path) -> None:
    with locked(tmp_path) as running:
        lab, shop = running.key("lab", project="lab"), running.key("shop", project="shop")
        found = check("ProjectAnswer", running.ask("PUT", "/api/v1/projects/lab", json={"log_contents": True}))
        assert found["log_contents"]
        projects = check("ProjectListAnswer", running.ask("GET", "/api/v1/projects"))["projects"]
        assert {one["name"]: one["log_contents"] for one in projects} == {"default": False, "lab": True, "shop": False}
        for key in (lab, shop):
            running.ask("POST", "/v1/completions", key, json={"model": "fake", "prompt": f"diary of {key[-3:]}"})
    text = (tmp_path / "logs/requests.jsonl").read_text()
    assert f"diary of {lab[-3:]}" in text
    assert f"diary of {shop[-3:]}" not in text


def test_changes_and_refusals_are_in_the_audit_log(tmp_path: Path) -> None:
    with locked(tmp_path) as running:
        key = running.key("bob", project="shop", scopes=("jobs",))
        running.ask("GET", "/v1/models", key)
        running.ask("GET", "/v1/models", "wrong")
        running.ask("DELETE", "/api/v1/jobs/job_none", key)  # 404: nothing was changed
        for _ in range(600):
            if len(found := running.audited()) == 3:
                break
            time.sleep(0.1)
        told = [(row["actor"], row["action"], row["outcome"], row["details"].get("reason")) for row in found[::-1]]
        made = running.ask("GET", "/api/v1/keys/bob").json()["id"]
        assert told[0] == ("env", "keys.create", "ok", None)
        assert found[-1]["target"] == made
        assert sorted(told[1:]) == [
            ("", "GET /v1/models", "refused", "permission_denied"),
            (made, "GET /v1/models", "refused", "scope_missing"),
        ]
        assert check("VerdictAnswer", running.ask("GET", "/api/v1/audit/verify"))["ok"]
        page = check("AuditAnswer", running.ask("GET", "/api/v1/audit", params={"limit": 2}))
        rest = check("AuditAnswer", running.ask("GET", "/api/v1/audit", params={"limit": 2, "before": page["before"]}))
        assert [row["seq"] for row in page["rows"] + rest["rows"]] == [3, 2, 1]


def test_the_row_is_there_before_the_answer(served: Locked) -> None:
    for number in range(20):
        made = served.ask("POST", "/api/v1/keys", json={"name": f"quick {number}"}).json()
        assert served.audited(limit=1)[0]["target"] == made["id"]


def test_without_keys_the_local_user_may_all(tmp_path: Path) -> None:
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf")})
    with live(settings, fake_pool(settings, tmp_path)) as running:
        assert running.client.get("/api/v1/keys").json() == {"keys": []}
        made = running.client.post("/api/v1/keys", json={"name": "first", "scopes": ["admin"]}).json()
        assert running.client.get("/api/v1/keys").status_code == 401  # at once
        assert running.client.get("/api/v1/keys", headers=bearer(made["key"])).status_code == 200
        assert running.client.get("/healthz").status_code == 200


def test_a_failing_audit_log_is_an_error(tmp_path: Path) -> None:
    """What cannot be recorded is not acknowledged."""
    with locked(tmp_path) as running:
        running.key("first")
        (tmp_path / "audit.head").write_text("torn")
        answer = running.ask("POST", "/api/v1/keys", json={"name": "second"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (507, "storage_error")
        assert "llmos_" not in answer.text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.0124, "12ms"), (1, "1s"), (59.7, "59.7s"), (60, "1m0s"), (90.5, "1m30.5s"), (86_399, "23h59m59s")],
)
def test_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_configured_key_is_told_apart(served: Locked) -> None:
    served.ask("POST", "/v1/chat/completions", ADMIN, json=CHAT)
    rows = served.ask("GET", "/api/v1/usage", params={"key": "env"}).json()["usage"]
    assert {row["key_id"] for row in rows} == {"env"}


def test_usage_goes_on_when_a_key_is_rotated(served: Locked) -> None:
    old = served.key("rotated")
    served.ask("POST", "/v1/chat/completions", old, json=CHAT)
    new = served.ask("POST", "/api/v1/keys/rotated/rotate", json={}).json()["key"]
    served.ask("POST", "/v1/chat/completions", new, json=CHAT)
    for who in (old, new):
        assert sum(row["requests"] for row in served.ask("GET", "/api/v1/usage", who).json()["usage"]) == 2
    assert sum(row["requests"] for row in served.ask("GET", "/api/v1/usage", params={"key": "rotated"}).json()["usage"]) == 2
