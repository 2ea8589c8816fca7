"""P31: no project reads another's files, jobs, batches, models, keys, usage, data sets, annotations or cached prefixes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from llmos.access.base import Scope
from llmos.access.keys import Keys
from llmos.access.secret import Secret
from llmos.errors import Conflict, NotFound
from llmos.infra.database import open_database
from llmos.library.library import Library
from llmos.server.app import ROUTES
from llmos.server.scopes import RouteTable, Rule, methods_of
from llmos.settings import Settings
from tests.jobs import serving, until
from tests.promises.levels import quick_or_full
from tests.server.locked import Locked, bearer, locked

TENANT = ("inference", "jobs", "library", "annotate")  # what a key of a project has at most
LINE = b'{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "fake"}}\n'
ANNOTATIONS = "/api/v1/annotations"
VALUE: dict[str, Any] = {"value": {"label": "good"}}
PROCESS: list[Any] = [{"text_length": {"min_chars": 8}}]
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
    dataset: str
    annotation: str


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
        ids = (upload.json()["id"], job.json()["id"], batched.json()["id"])
        made[name] = Tenant(key, key_id, *ids, model, dataset_of(service, key, name), annotation_of(service, key, name))
    return made


def dataset_of(service: Locked, key: str, name: str) -> str:
    """Both are called mails."""
    recipe = {"name": "mails", "sources": [{"rows": [{"text": f"a mail of {name}"}, {"text": "short"}]}], "process": PROCESS}
    job = finished(service, key, {"kind": "data", "params": {"recipe": recipe}})
    assert job["state"] == "succeeded", job
    return str(job["result"]["dataset"])


def annotation_of(service: Locked, key: str, name: str) -> str:
    """Both are called mood; its one item is annotated and decided."""
    config = {"name": "mood", "task": "classification", "config": {"labels": ["good", "bad"]}}
    ref = str(service.ask("POST", ANNOTATIONS, key, json=config).json()["id"])
    for method, path, body in (
        ("POST", "items", {"items": [{"id": "1", "text": f"words of {name}"}]}),
        ("PUT", "items/1/annotation", VALUE),
        ("PUT", "items/1/adjudication", VALUE),
    ):
        assert service.ask(method, f"{ANNOTATIONS}/{ref}/{path}", key, json=body).status_code == 200
    return ref


def finished(service: Locked, key: str, submitted: dict[str, Any]) -> dict[str, Any]:
    answer = service.ask("POST", "/api/v1/jobs", key, json=submitted)
    assert answer.status_code == 200, answer.text
    path = f"/api/v1/jobs/{answer.json()['id']}"
    until(lambda: service.ask("GET", path, key).json()["state"] not in ("queued", "running"))
    return dict(service.ask("GET", path, key).json())


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
        *((method, f"/api/v1/datasets/{of.dataset}{path}", body) for method, path, body in DATASET_VERBS),
        ("GET", f"/api/v1/datasets/{of.dataset}/diff?with={of.dataset}", None),
        ("GET", f"/api/v1/data-why?row=rows%231&dataset={of.dataset}", None),
        ("POST", "/api/v1/recipes/check", {"recipe": {"sources": [{"dataset": of.dataset}]}}),
        ("POST", "/api/v1/recipes/check", {"recipe": {"sources": [{"file": of.file, "format": "jsonl"}]}}),
        *((method, f"{ANNOTATIONS}/{of.annotation}{path}", body) for method, path, body in ANNOTATION_VERBS),
        ("POST", f"{ANNOTATIONS}/{of.annotation}/items", {"file_id": of.file}),
    ]


DATASET_VERBS: tuple[tuple[str, str, Any], ...] = (
    *(
        ("GET", path, None)
        for path in ("", "/rows", "/rows.jsonl", "/ledger", "/report", "/report.html", "/statistics", "/lineage")
    ),
    ("POST", "/verify", {}),
    ("POST", "/export", {"filename": "x.jsonl"}),
    ("DELETE", "", None),
)
ANNOTATION_VERBS: tuple[tuple[str, str, Any], ...] = (
    *(
        ("GET", path, None)
        for path in ("", "/items", "/items/1", "/items/1/review", "/progress", "/agreement", "/history", "/export")
    ),
    ("PATCH", "", {}),
    ("POST", "/items", {"items": []}),
    ("POST", "/next", {}),
    ("PUT", "/items/1/annotation", VALUE),
    ("POST", "/items/1/skip", {"reason": "none"}),
    ("POST", "/undo", {}),
    ("PUT", "/items/1/adjudication", VALUE),
    ("DELETE", "/items/1/adjudication", None),
    ("POST", "/label-errors", {}),
    ("DELETE", "", None),
)


def ids(of: Tenant) -> tuple[str, ...]:
    return (of.file, of.job, of.batch, of.model, of.key_id, of.key, of.dataset, of.annotation)


def test_the_matrix_has_every_route() -> None:
    """Every route with something of a project in its path, but those of admins, who see all projects."""
    table = RouteTable(module.router for module in ROUTES)
    rules = {(method, rule.path) for method, rule in every_route() if "{" in rule.path and rule.scope is not Scope.ADMIN}
    nobody = Tenant(*(["x"] * len(fields(Tenant))))
    covered = {(method, rule.path) for method, path, _ in verbs(nobody) if (rule := table.find(method, path.partition("?")[0])[0])}
    of_the_real_library = {("GET", "/api/v1/models/{name:path}"), ("DELETE", "/api/v1/models/{name:path}")}  # below
    assert rules - covered == of_the_real_library


def every_route() -> Iterator[tuple[str, Rule]]:
    for module in ROUTES:
        for route in module.router.routes:
            assert isinstance(route, APIRoute)
            yield from ((method, module.router.rules[id(route)]) for method in methods_of(route))


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


def test_jobs_find_nothing_of_others(service: Locked, tenants: dict[str, Tenant]) -> None:
    """What a job is given by name is looked up as its project sees it."""
    blue, green = tenants["blue"], service.key("of green", project="green", scopes=TENANT)
    for kind, params in (
        ("data", {"recipe": {"sources": [{"dataset": blue.dataset}]}}),
        ("data", {"recipe": {"sources": [{"file": blue.file, "format": "jsonl"}]}}),
        ("data", {"recipe": {"sources": [{"rows": [{"text": "a"}]}], "process": [{"exact_dedup": {"against": [blue.dataset]}}]}}),
        ("prelabel", {"annotation": blue.annotation, "model": "fake"}),
    ):
        job = finished(service, green, {"kind": kind, "params": params})
        assert (job["state"], job["error"]["code"]) == ("failed", "not_found"), job


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
    "/api/v1/datasets",
    "/api/v1/annotations",
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
    red.import_path(other, name="reds")
    for call in (blue.show, blue.resolve, blue.remove):
        with pytest.raises(NotFound):
            call("reds")
    assert red.show("reds").version == theirs.version
    red.remove("reds")
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


def test_no_cached_prefix_of_another_project(tmp_path: Path, asset: Any) -> None:
    """llama.cpp keeps what it computed; the same long prompt is a hit for the project that sent it and none for the other."""
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path / "home"), "HF_HOME": str(tmp_path / "hf")})
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

    env = os.environ | {"HF_HOME": str(tmp_path / "hf"), "LLMOS_PROBE": "0"}
    with serving(tmp_path / "home", env) as url, httpx.Client(base_url=url, timeout=300, trust_env=False) as client:
        loaded = client.post("/api/v1/loaded", json={"name": "smollm2", "engine": "llamacpp"}, headers=bearer(tokens["red"]))
        assert loaded.status_code == 200, loaded.text
        for number in range(quick_or_full(1, 5)):
            text = f"{number} {prompt}"
            assert cached(client, "red", text) < 64  # nothing of this one yet
            assert cached(client, "red", text) >= 64  # the cache works at all
            assert cached(client, "blue", text) == 0
            assert cached(client, "blue", text) >= 64
