"""P31: no project reads another's files, jobs, batches, models, keys, usage or cached prefixes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmos.access.base import Scope
from llmos.access.keys import Keys
from llmos.access.secret import Secret
from llmos.errors import Conflict
from llmos.infra.database import open_database
from llmos.library.library import Library
from llmos.settings import Settings
from tests.promises.levels import quick_or_full
from tests.server.locked import Locked, bearer, locked

TENANT = ("inference", "jobs", "library")  # what a key of a project has at most
LINE = b'{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "fake"}}\n'
CHAT: dict[str, Any] = {"model": "fake", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}


@dataclass(frozen=True)
class Tenant:
    """What one project has."""

    key: str
    key_id: str
    file: str
    job: str
    batch: str
    model: str


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    with locked(tmp_path_factory.mktemp("p31")) as running:
        running.library.owners.update({"fake-tools": "red", "fake-slow": "blue"})
        yield running


@pytest.fixture(scope="module")
def tenants(service: Locked) -> dict[str, Tenant]:
    made = {}
    for name, model in (("red", "fake-tools"), ("blue", "fake-slow")):
        key = service.key(f"of {name}", project=name, scopes=TENANT)
        key_id = service.ask("GET", f"/api/v1/keys/of {name}").json()["id"]
        upload = service.client.post(
            "/v1/files", headers=bearer(key), data={"purpose": "batch"}, files={"file": (f"{name}.jsonl", LINE)}
        )
        job = service.ask("POST", "/api/v1/jobs", key, json={"kind": "pull", "params": {"model": f"hf:{name}/x"}})
        batch = {"input_file_id": upload.json()["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batched = service.ask("POST", "/v1/batches", key, json=batch)
        service.ask("POST", "/v1/chat/completions", key, json=CHAT)
        made[name] = Tenant(key, key_id, upload.json()["id"], job.json()["id"], batched.json()["id"], model)
    return made


def verbs(of: Tenant) -> list[tuple[str, str, Any]]:
    """Every route that takes an id, with the ids of a tenant."""
    return [
        ("GET", f"/v1/files/{of.file}", None),
        ("GET", f"/v1/files/{of.file}/content", None),
        ("DELETE", f"/v1/files/{of.file}", None),
        ("GET", f"/v1/files?after={of.file}", None),
        ("GET", f"/api/v1/jobs/{of.job}", None),
        ("GET", f"/api/v1/jobs/{of.job}/events", None),
        ("POST", f"/api/v1/jobs/{of.job}/cancel", {}),
        ("POST", f"/api/v1/jobs/{of.job}/pause", {}),
        ("POST", f"/api/v1/jobs/{of.job}/resume", {}),
        ("DELETE", f"/api/v1/jobs/{of.job}", None),
        ("POST", "/api/v1/jobs", {"kind": "pull", "params": {"model": "hf:a/b"}, "depends_on": [of.job]}),
        ("GET", f"/v1/batches/{of.batch}", None),
        ("POST", f"/v1/batches/{of.batch}/cancel", {}),
        ("GET", f"/v1/batches?after={of.batch}", None),
        ("POST", "/v1/batches", {"input_file_id": of.file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}),
        ("GET", f"/api/v1/usage?key={of.key_id}", None),
        ("GET", f"/v1/models/{of.model}", None),
        ("POST", "/v1/chat/completions", CHAT | {"model": of.model}),
        ("POST", "/v1/completions", {"model": of.model, "prompt": "a"}),
        ("POST", "/v1/responses", {"model": of.model, "input": "a"}),
        ("POST", "/v1/embeddings", {"model": of.model, "input": "a"}),
        ("POST", "/v1/messages", {"model": of.model, "max_tokens": 3, "messages": [{"role": "user", "content": "a"}]}),
        ("POST", "/v1/score", {"model": of.model, "prompt": "a", "continuations": ["b"]}),
        ("POST", "/v1/rerank", {"model": of.model, "query": "a", "documents": ["b"]}),
        ("POST", "/tokenize", {"model": of.model, "prompt": "a"}),
        ("POST", "/api/v1/predict", {"model": of.model, "input": "a", "labels": ["b", "c"]}),
        ("POST", "/api/v1/translate", {"model": of.model, "input": "a", "target_language": "fr"}),
        ("POST", "/api/v1/loaded", {"name": of.model}),
        ("POST", "/api/chat", {"model": of.model, "messages": [{"role": "user", "content": "a"}]}),
        ("POST", "/api/show", {"model": of.model}),
    ]


def ids(of: Tenant) -> tuple[str, ...]:
    return (of.file, of.job, of.batch, of.model, of.key_id, of.key)


@pytest.mark.parametrize(("who", "whose"), [("red", "blue"), ("blue", "red")])
def test_the_matrix(service: Locked, tenants: dict[str, Tenant], who: str, whose: str) -> None:
    """Everything of another project is a 404, told as what was never there."""
    for method, path, body in verbs(tenants[whose]):
        answer = service.ask(method, path, tenants[who].key, json=body)
        assert answer.status_code == 404, (method, path, answer.status_code, answer.text)
        others = [one for one in ids(tenants[whose]) if one in answer.text and one not in path and one not in str(body)]
        assert others == [], (method, path, others)


@pytest.mark.parametrize("who", ["red", "blue"])
def test_the_own_is_there(service: Locked, tenants: dict[str, Tenant], who: str) -> None:
    """The same matrix with the own ids, so that the 404s above mean something."""
    mine = tenants[who]
    for method, path, body in verbs(mine):
        if method == "GET" or path in ("/v1/chat/completions", "/tokenize", "/api/show"):
            answer = service.ask(method, path, mine.key, json=body)
            assert answer.status_code == 200, (method, path, answer.text)


LISTS = (
    "/v1/files",
    "/api/v1/jobs",
    "/v1/batches",
    "/v1/models",
    "/api/v1/models",
    "/api/v1/aliases",
    "/api/v1/loaded",
    "/api/tags",
    "/api/ps",
    "/api/v1/usage",
)
ADMINS = (
    "/api/v1/keys",
    "/api/v1/audit",
    "/api/v1/projects",
    "/metrics",
    "/api/v1/status",
    "/api/v1/aliases/prod/history",
)


@pytest.mark.parametrize("path", LISTS)
def test_lists_have_the_own_only(service: Locked, tenants: dict[str, Tenant], path: str) -> None:
    for who, whose in (("red", "blue"), ("blue", "red")):
        answer = service.ask("GET", path, tenants[who].key)
        assert answer.status_code == 200, answer.text
        assert [one for one in ids(tenants[whose]) if one in answer.text] == [], path


def test_a_place_in_a_list_is_no_way_in(service: Locked, tenants: dict[str, Tenant]) -> None:
    """`before` is a place in time: another's id there gives the own jobs before it, as an invented one does."""
    for of in tenants.values():
        for place in (of.job, f"{of.job[:-1]}0"):
            listed = service.ask("GET", "/api/v1/jobs", tenants["red"].key, params={"before": place})
            assert listed.status_code == 200
            assert tenants["blue"].job not in listed.text


def test_an_unknown_model_is_told_as_a_hidden_one(service: Locked, tenants: dict[str, Tenant]) -> None:
    hidden, unknown = (
        service.ask("POST", "/v1/completions", tenants["red"].key, json={"model": name, "prompt": "a"}).json()["error"]
        for name in ("fake-slow", "fake-slaw")
    )
    assert hidden["message"].replace("fake-slow", "X") == unknown["message"].replace("fake-slaw", "X")
    assert hidden["code"] == unknown["code"]


def test_admin_routes_are_no_tenants(service: Locked, tenants: dict[str, Tenant]) -> None:
    for path in ADMINS:
        assert service.ask("GET", path, tenants["red"].key).status_code == 403, path


def test_the_real_library_hides_models(tmp_path: Path, asset: Any) -> None:
    """A model that a project brought is its own; two projects with one name each get theirs; removal leaves it to the other."""
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf")})
    library = Library(settings)
    file, other = next(asset("smollm2").glob("*.gguf")), asset("minilm")
    red, blue = library.seen_by("red"), library.seen_by("blue")
    mine = red.import_path(file, name="mine")
    theirs = blue.import_path(other, name="mine")
    everybody = library.import_path(file, name="shared")
    assert mine.version != theirs.version
    assert [card.version for card in red.list() if card.name == "mine"] == [mine.version]
    assert red.resolve("mine").card.version == mine.version
    assert blue.resolve("mine").card.version == theirs.version
    assert {card.name for card in library.list()} == {"mine", "shared"}
    for view in (red, blue):
        assert view.resolve("shared").card.version == everybody.version
        with pytest.raises(Conflict, match="everybody's"):
            view.remove("shared")
    again = blue.import_path(file, name="mine")  # the same bytes as red's, now of both
    assert again.version == mine.version
    red.remove("mine")
    assert red.list() == [everybody]
    assert blue.resolve(f"mine:{again.version}").card == again
    library.database.close()


@contextmanager
def real_server(home: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"LLMOS_HOME": str(home), "HF_HOME": str(home / "hf"), "LLMOS_PROBE": "0"}
    command = [sys.executable, "-m", "llmos", "serve", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(600):
                try:
                    if httpx.get(f"{url}/readyz", timeout=2, trust_env=False).status_code == 200:
                        break
                except httpx.HTTPError:
                    time.sleep(0.1)
            yield url
        finally:
            server.terminate()


def test_no_cached_prefix_of_another_project(tmp_path: Path, asset: Any) -> None:
    """llama.cpp keeps what it computed; the same long prompt is a hit for the project that sent it and none for the other."""
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf")})
    library = Library(settings)
    library.import_path(next(asset("smollm2").glob("*.gguf")), name="smollm2")
    database = open_database(settings)
    keys = Keys(database, Secret.of(settings))
    tokens = {name: keys.create(name, project=name, scopes=[Scope.INFERENCE])[1] for name in ("red", "blue")}
    database.close()
    library.database.close()
    prompt = "The secret plan of the red project is as follows. " * 9

    def cached(client: httpx.Client, who: str, text: str) -> int:
        body = {"model": "smollm2", "prompt": text, "max_tokens": 2, "temperature": 0}
        answer = client.post("/v1/completions", json=body, headers=bearer(tokens[who]))
        assert answer.status_code == 200, answer.text
        return int(answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"])

    with real_server(tmp_path) as url, httpx.Client(base_url=url, timeout=300, trust_env=False) as client:
        loaded = client.post("/api/v1/loaded", json={"name": "smollm2", "engine": "llamacpp"}, headers=bearer(tokens["red"]))
        assert loaded.status_code == 200, loaded.text
        for number in range(quick_or_full(1, 5)):
            text = f"{number} {prompt}"
            assert cached(client, "red", text) < 64  # nothing of this one yet
            assert cached(client, "red", text) >= 64  # the cache works at all
            assert cached(client, "blue", text) == 0
            assert cached(client, "blue", text) >= 64
