"""The routes of annotation: work, review, export, tenancy, and what their answers say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from llmos.access.base import Scope
from llmos.server import annotation_answers
from tests.server.live import Live
from tests.server.locked import Locked, bearer, locked

BASE = "/api/v1/annotations"
CONFIG: dict[str, Any] = {"labels": ["good", "bad"], "guidelines": "# Be fair"}


def check(name: str, value: Any) -> Any:
    """A real answer fits what the document says of it."""
    Draft202012Validator(getattr(annotation_answers, name).model_json_schema()).validate(value)
    return value


def ok(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def made(client: httpx.Client, name: str, num_items: int = 4, headers: dict[str, str] | None = None, **config: Any) -> str:
    body = {"name": name, "task": "classification", "config": CONFIG | config}
    project = check("AnnotationProjectAnswer", ok(client.post(BASE, json=body, headers=headers)))
    rows = [{"id": f"k{number}", "text": f"text {number}"} for number in range(num_items)]
    report = check("ImportAnswer", ok(client.post(f"{BASE}/{project['id']}/items", json={"items": rows}, headers=headers)))
    assert report["num_added"] == num_items
    return str(project["id"])


def test_a_round_of_work(client: httpx.Client) -> None:
    ref = made(client, "round", overlap=2)
    listed = check("AnnotationListAnswer", ok(client.get(BASE)))
    assert (listed["annotator"], listed["names_others"], listed["manages"]) == ("local", True, True)
    assert ref in [one["id"] for one in listed["annotations"]]
    assert ok(client.get(f"{BASE}/round"))["id"] == ref
    items = check("AssignedListAnswer", ok(client.post(f"{BASE}/{ref}/next", json={"count": 2})))["items"]
    assert [one["item"] for one in items] == [1, 2]
    saved = check(
        "SavedAnswer",
        ok(client.put(f"{BASE}/{ref}/items/1/annotation", json={"value": {"label": "good"}, "seconds": 1.5, "next": 2})),
    )
    assert [one["item"] for one in saved["next"]] == [2, 3] and saved["state"] == "open"
    ok(client.put(f"{BASE}/{ref}/items/1/annotation", json={"value": {"label": "bad"}, "annotator": "bob"}))
    skipped = check("SavedAnswer", ok(client.post(f"{BASE}/{ref}/items/2/skip", json={"reason": "unclear"})))
    assert skipped["annotation"]["skipped"] == "unclear"
    own = check("AssignedAnswer", ok(client.get(f"{BASE}/{ref}/items/1")))
    assert own["own"]["value"] == {"label": "good"}  # and nothing of bob's
    back = check("AssignedListAnswer", ok(client.post(f"{BASE}/{ref}/undo", json={})))["items"]
    assert [one["item"] for one in back] == [2]
    told = check("AnnotationProgressAnswer", ok(client.get(f"{BASE}/{ref}/progress")))
    assert (told["num_items"], told["num_done"], told["num_differing"], told["num_annotations"]) == (4, 1, 1, 2)
    agreed = check("AgreementAnswer", ok(client.get(f"{BASE}/{ref}/agreement")))
    assert (agreed["num_items"], agreed["identical"]) == (1, 0.0)


def test_review_and_export(client: httpx.Client) -> None:
    ref = made(client, "review", 2, overlap=2)
    for name, label in (("ann", "good"), ("bob", "bad")):
        for item in (1, 2):
            value = {"label": label if item == 1 else "good"}
            ok(client.put(f"{BASE}/{ref}/items/{item}/annotation", json={"value": value, "annotator": name}))
    page = check("ItemListAnswer", ok(client.get(f"{BASE}/{ref}/items", params={"differs": "true"})))
    assert [one["item"] for one in page["items"]] == [1] and page["after"] is None
    body = {"value": {"label": "bad"}, "note": "irony"}
    decided = check("ItemAnswer", ok(client.put(f"{BASE}/{ref}/items/1/adjudication", json=body)))
    assert decided["state"] == "adjudicated" and len(decided["annotations"]) == 2
    rows = [json.loads(line) for line in client.get(f"{BASE}/{ref}/export", params={"format": "rows"}).text.splitlines()]
    assert rows == [{"text": "text 0", "label": "bad"}, {"text": "text 1", "label": "good"}]
    studio = client.get(f"{BASE}/{ref}/export", params={"format": "label-studio"})
    assert studio.headers["content-type"] == "application/json"
    assert [one["id"] for one in studio.json()] == ["k0", "k1"] and len(studio.json()[0]["annotations"]) == 3
    assert check("ItemAnswer", ok(client.delete(f"{BASE}/{ref}/items/1/adjudication")))["state"] == "done"
    history = check("HistoryListAnswer", ok(client.get(f"{BASE}/{ref}/history", params={"item": 1})))["history"]
    assert [one["action"] for one in history] == ["save", "save", "adjudicate", "adjudicate"]
    assert check("ItemAnswer", ok(client.get(f"{BASE}/{ref}/items/2/review")))["num_annotations"] == 2
    refused = client.get(f"{BASE}/{ref}/export", params={"format": "conll"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "format")


def test_a_file_comes_in(client: httpx.Client) -> None:
    body = {"name": "from a file", "task": "spans", "config": {"labels": ["PER", "LOC"]}}
    ref = ok(client.post(BASE, json=body))["id"]
    conll = b"Ann B-PER\nlives O\nin O\nParis B-LOC\n\nHello O\n"
    file_id = client.post("/v1/files", data={"purpose": "user_data"}, files={"file": ("a.conll", conll)}).json()["id"]
    report = ok(client.post(f"{BASE}/{ref}/items", json={"file_id": file_id, "annotator": "gold"}))
    assert (report["num_added"], report["num_annotations"], report["num_problems"]) == (2, 2, 0)
    assert client.get(f"{BASE}/{ref}/export", params={"format": "conll"}).content == conll + b"\n"


def test_label_errors_from_given_probabilities(client: httpx.Client) -> None:
    ref = made(client, "errors", 6)
    for item, label in enumerate(["good", "good", "bad", "bad", "good", "bad"], start=1):
        ok(client.put(f"{BASE}/{ref}/items/{item}/annotation", json={"value": {"label": label}}))
    chances = {f"k{place}": {"good": p, "bad": round(1 - p, 2)} for place, p in enumerate([0.9, 0.8, 0.1, 0.2, 0.05, 0.1])}
    found = check("LabelErrorsAnswer", ok(client.post(f"{BASE}/{ref}/label-errors", json={"probabilities": chances})))
    assert [(one["item"], one["given"], one["suggested"]) for one in found["errors"]] == [(5, "good", "bad")]
    assert found["num_items"] == 6 and 0 < found["noise"] < 0.5


def test_a_project_is_changed_and_removed(client: httpx.Client) -> None:
    ref = made(client, "changing")
    changed = ok(client.patch(f"{BASE}/{ref}", json={"config": {"overlap": 3}, "name": "changed", "version": 1}))
    assert (changed["name"], changed["config"]["overlap"], changed["version"]) == ("changed", 3, 2)
    assert client.patch(f"{BASE}/{ref}", json={"version": 1}).status_code == 409
    assert check("AnnotationRemovedAnswer", ok(client.delete(f"{BASE}/{ref}"))) == {"removed": ref}
    assert client.get(f"{BASE}/{ref}").status_code == 404


def test_tasks_say_what_they_want(client: httpx.Client) -> None:
    found = check("AnnotationTaskListAnswer", ok(client.get(f"{BASE}/tasks")))["tasks"]
    assert {"classification", "multilabel", "spans", "preference", "rating", "text", "translation", "conversation"} <= {
        one["task"] for one in found
    }


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param"),
    [
        ("POST", "", {"name": "x"}, 400, "task"),
        ("POST", "", {"name": "x", "task": "clasification"}, 404, "task"),
        ("POST", "", {"name": "x\u001b", "task": "rating"}, 400, "name"),
        ("POST", "", {"name": "x", "task": "classification", "config": {"labels": ["a"]}}, 400, "config.labels"),
        ("POST", "/bad/items", {}, 400, None),
        ("POST", "/bad/items", {"items": [], "file_id": "file-0"}, 400, None),
        ("POST", "/bad/items", {"file_id": "file-0"}, 404, "file_id"),
        ("POST", "/bad/next", {"count": 51}, 400, "count"),
        ("PUT", "/bad/items/1/annotation", {"value": {"label": "ugly"}}, 400, "value.label"),
        ("PUT", "/bad/items/1/annotation", {"value": {"label": "good"}, "seconds": -1}, 400, "seconds"),
        ("PUT", "/bad/items/1/annotation", {"value": {"label": "good"}, "version": 3}, 409, "version"),
        ("PUT", "/bad/items/1/annotation", {"vlaue": {"label": "good"}}, 400, "value"),
        ("PUT", "/bad/items/99/annotation", {"value": {"label": "good"}}, 404, "item"),
        ("PUT", "/bad/items/0/annotation", {"value": {"label": "good"}}, 400, "path.item"),
        ("GET", "/bad/items?limit=0", None, 400, "query.limit"),
        ("GET", "/bad/export?format=xml", None, 400, "format"),
        ("GET", "/nowhere/progress", None, 404, "id"),
        ("GET", "/%00/progress", None, 400, "path.id"),
        ("POST", "/bad/items/1/skip", {"reason": "a\u0000"}, 400, "reason"),
        ("POST", "/bad/next", {"annotator": "a\u0000"}, 400, "annotator"),
        ("POST", "/bad/label-errors", {}, 400, "probabilities"),
    ],
)
def test_bad_requests_name_the_field(
    client: httpx.Client, method: str, path: str, body: Any, status: int, param: str | None
) -> None:
    if client.get(f"{BASE}/bad").status_code == 404:
        made(client, "bad", 1)
    answer = client.request(method, f"{BASE}{path}", json=body)
    assert answer.status_code == status, answer.text
    if param is not None:
        assert answer.json()["error"]["param"] == param


# -- keys and projects ---------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    with locked(tmp_path_factory.mktemp("annotations")) as running:
        yield running


@pytest.fixture(scope="module")
def who(service: Locked) -> dict[str, dict[str, str]]:
    wanted = {
        "red owner": ("jobs", "annotate"),
        "red worker": ("annotate",),
        "blue": ("jobs", "annotate"),
        "reader": ("inference",),
    }
    return {
        name: bearer(service.key(name.replace(" ", "-"), project=name.split()[0], scopes=scopes)) for name, scopes in wanted.items()
    }


def test_a_worker_sees_the_own_only(service: Locked, who: dict[str, dict[str, str]]) -> None:
    client, worker = service.client, who["red worker"]
    ref = made(client, "work", headers=who["red owner"], overlap=2)
    assert ok(client.get(BASE, headers=worker))["manages"] is False
    name = ok(client.get(BASE, headers=worker))["annotator"]
    assert name.startswith("key_")
    ok(client.post(f"{BASE}/{ref}/next", json={}, headers=worker))
    saved = ok(client.put(f"{BASE}/{ref}/items/1/annotation", json={"value": {"label": "good"}}, headers=worker))
    assert saved["annotation"]["annotator"] == name
    other = client.put(f"{BASE}/{ref}/items/1/annotation", json={"value": {"label": "bad"}, "annotator": "bob"}, headers=worker)
    assert (other.status_code, other.json()["error"]["code"]) == (403, "not_allowed")
    for method, path in (
        ("POST", ""),
        ("PATCH", f"/{ref}"),
        ("DELETE", f"/{ref}"),
        ("POST", f"/{ref}/items"),
        ("GET", f"/{ref}/items"),
        ("GET", f"/{ref}/items/1/review"),
        ("PUT", f"/{ref}/items/1/adjudication"),
        ("DELETE", f"/{ref}/items/1/adjudication"),
        ("GET", f"/{ref}/agreement"),
        ("GET", f"/{ref}/history"),
        ("POST", f"/{ref}/label-errors"),
        ("GET", f"/{ref}/export"),
    ):
        answer = client.request(method, f"{BASE}{path}", json={}, headers=worker)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "scope_missing"), (method, path)
    actions = [row["action"] for row in service.audited(action="annotations.")]
    assert {"annotations.create", "annotations.add_items", "annotations.next_items", "annotations.save"} <= set(actions)


def test_no_project_sees_another(service: Locked, who: dict[str, dict[str, str]]) -> None:
    client = service.client
    ref = made(client, "secret", headers=who["red owner"])
    value = {"value": {"label": "good"}}
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {}),
        ("DELETE", "", None),
        ("POST", "/items", {"items": []}),
        ("GET", "/items", None),
        ("GET", "/items/1", None),
        ("GET", "/items/1/review", None),
        ("POST", "/next", {}),
        ("PUT", "/items/1/annotation", value),
        ("POST", "/items/1/skip", {"reason": "x"}),
        ("POST", "/undo", {}),
        ("PUT", "/items/1/adjudication", value),
        ("DELETE", "/items/1/adjudication", None),
        ("GET", "/progress", None),
        ("GET", "/agreement", None),
        ("GET", "/history", None),
        ("POST", "/label-errors", {}),
        ("GET", "/export", None),
    ):
        for name in (ref, "secret"):
            there = client.request(method, f"{BASE}/{name}{path}", json=body, headers=who["blue"])
            nowhere = client.request(method, f"{BASE}/ann_0{path}", json=body, headers=who["blue"])
            assert there.status_code == 404, (method, path, there.text)
            assert there.text.replace(name, "ann_0") == nowhere.text
    assert ok(client.get(BASE, headers=who["blue"]))["annotations"] == []
    assert made(client, "secret", headers=who["blue"]) != ref  # a name is taken in the own project only
    file_id = client.post(
        "/v1/files", data={"purpose": "user_data"}, files={"file": ("a.jsonl", b"{}")}, headers=who["red owner"]
    ).json()["id"]
    stolen = client.post(f"{BASE}/secret/items", json={"file_id": file_id}, headers=who["blue"])
    assert (stolen.status_code, stolen.json()["error"]["param"]) == (404, "file_id")


def test_what_is_saved_outlives_the_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("restart")
    with locked(folder) as running:
        headers = bearer(running.key("one", scopes=("jobs", "annotate")))
        ref = made(running.client, "kept", headers=headers)
        ok(running.client.put(f"{BASE}/{ref}/items/1/annotation", json={"value": {"label": "good"}}, headers=headers))
    with locked(folder) as running:
        assert ok(running.client.get(f"{BASE}/{ref}/items/1", headers=headers))["own"]["value"] == {"label": "good"}


def test_scopes_are_what_the_docs_say(served: Live) -> None:
    paths = served.app.openapi()["paths"]
    assert paths[f"{BASE}/{{id}}/next"]["post"]["x-llmos-scope"] == Scope.ANNOTATE
    assert paths[f"{BASE}/{{id}}/export"]["get"]["x-llmos-scope"] == Scope.JOBS
