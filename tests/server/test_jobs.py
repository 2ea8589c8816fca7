"""The routes of jobs and of the status, on a live server whose runner starts real child processes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from llmos import LLMOS, errors
from llmos.access.base import Scope
from llmos.engine.pool import Pool
from llmos.server import job_answers
from llmos.server.limits import Limits
from llmos.settings import Settings
from tests.doubles import fake_cards
from tests.jobs import LONG, know_count, until
from tests.server.live import Live, ServedLibrary, live

SSE = {"accept": "text/event-stream"}


def start(folder: Path, database_url: str = "") -> Any:
    settings = Settings.from_env({"LLMOS_HOME": str(folder), "LLMOS_NUM_THREADS": "2", "LLMOS_DATABASE_URL": database_url})
    pool = Pool(settings, ServedLibrary(folder / "fake-model", fake_cards()), inline=True)
    return live(settings, pool, limits=Limits(heartbeat_s=0.3))


@pytest.fixture(scope="module", autouse=True)
def _count(plugin_site: Path) -> None:
    know_count(plugin_site)


@pytest.fixture(scope="module")
def served(_count: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with start(tmp_path_factory.mktemp("jobs")) as running:
        yield running


@pytest.fixture(scope="module")
def keyed(_count: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, dict[str, dict[str, str]]]]:
    """A server with keys, and the headers of each: red and blue are projects."""
    with start(tmp_path_factory.mktemp("keyed")) as running:
        keys = running.state.access.keys
        made = {
            "red": keys.create("red", project="red", scopes=[Scope.JOBS], priority="normal"),
            "blue": keys.create("blue", project="blue", scopes=[Scope.JOBS], priority="batch"),
            "reader": keys.create("reader", project="red", scopes=[Scope.INFERENCE]),
            "admin": keys.create("admin", scopes=[Scope.ADMIN]),
        }
        running.state.access.ring.changed()
        yield running, {name: {"authorization": f"Bearer {key}"} for name, (_, key) in made.items()}


def check(name: str, value: Any) -> None:
    Draft202012Validator(getattr(job_answers, name).model_json_schema(mode="serialization")).validate(value)


def submit(client: httpx.Client, params: dict[str, Any], headers: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    answer = client.post("/api/v1/jobs", json={"kind": "count", "params": params, **fields}, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def finished(client: httpx.Client, job_id: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def over() -> bool:
        found.update(client.get(f"/api/v1/jobs/{job_id}", headers=headers).json())
        return found["state"] in ("succeeded", "failed", "cancelled")

    until(over)
    return found


def stream(
    client: httpx.Client, job_id: str, headers: dict[str, str] | None = None, **query: Any
) -> tuple[list[dict[str, str]], int]:
    """The events of a whole stream, each with its fields, and the number of its comments."""
    events, comments, now = [], 0, dict[str, str]()
    with client.stream("GET", f"/api/v1/jobs/{job_id}/events", params=query, headers=SSE | (headers or {})) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith(":"):
                comments += 1
            elif line:
                name, _, value = line.partition(": ")
                now[name] = value
            elif now:
                events.append(now)
                now = {}
    return events, comments


def test_a_job_from_submission_to_removal(client: httpx.Client) -> None:
    made = submit(client, {"to": 12}, labels={"team": "a"})
    check("JobAnswer", made)
    assert (made["state"], made["project"], made["submitted_by"], made["priority"]) == ("queued", "default", "", "normal")
    done = finished(client, made["id"])
    check("JobAnswer", done)
    assert done["result"] == {"counted": 12, "began_at": 1, "attempt": 1} and done["progress"]["done"] == 12
    assert "beat" not in done
    history = client.get(f"/api/v1/jobs/{made['id']}/events").json()
    check("EventListAnswer", history)
    assert [event["seq"] for event in history["events"]] == list(range(1, history["after"] + 1))
    assert history["state"] == "succeeded"
    removed = client.delete(f"/api/v1/jobs/{made['id']}").json()
    check("JobRemovedAnswer", removed)
    assert client.get(f"/api/v1/jobs/{made['id']}").status_code == 404


def test_the_stream_has_every_event_and_ends_with_the_job(client: httpx.Client) -> None:
    job = submit(client, {"to": 30, "pause_s": 0.02})
    events, _ = stream(client, job["id"])
    assert [int(event["id"]) for event in events] == list(range(1, len(events) + 1))
    data = [json.loads(event["data"]) for event in events]
    for one, event in zip(data, events, strict=True):
        check("EventAnswer", one)
        assert (event["id"], event["event"]) == (str(one["seq"]), one["type"])
    assert data[-1]["data"]["state"] == "succeeded"
    assert {"state", "log", "progress", "checkpoint", "metric", "artefact"} == {one["type"] for one in data}


def test_no_end_is_missed(client: httpx.Client) -> None:
    """Many short jobs, each followed while it ends: the end may come between any two looks at the database."""
    for _ in range(25):
        job = submit(client, {"to": 1})
        states, _ = stream(client, job["id"], types="state", wait_s=30)
        assert json.loads(states[-1]["data"])["data"]["state"] == "succeeded"


def test_a_stream_goes_on_where_it_was(client: httpx.Client) -> None:
    job = submit(client, {"to": 5})
    finished(client, job["id"])
    last = client.get(f"/api/v1/jobs/{job['id']}/events").json()["after"]
    whole, _ = stream(client, job["id"])
    for begun in (0, 1, last - 1):
        assert stream(client, job["id"], after=begun)[0] == whole[begun:]
        assert stream(client, job["id"], {"last-event-id": str(begun)})[0] == whole[begun:]
    assert stream(client, job["id"], {"last-event-id": "2"}, after=0)[0] == whole[2:]  # a browser that comes back
    assert stream(client, job["id"], after=last) == ([], 1)
    states, _ = stream(client, job["id"], types="state")
    assert [json.loads(event["data"])["data"]["state"] for event in states] == ["queued", "running", "succeeded"]


def test_quiet_streams_have_heartbeats_and_a_time_of_their_own(client: httpx.Client) -> None:
    job = submit(client, dict(LONG), priority="batch")
    client.post(f"/api/v1/jobs/{job['id']}/pause")
    until(lambda: client.get(f"/api/v1/jobs/{job['id']}").json()["state"] == "paused")
    last = client.get(f"/api/v1/jobs/{job['id']}/events").json()["after"]
    events, comments = stream(client, job["id"], after=last, wait_s=1.2)
    assert events == [] and comments >= 3
    page = client.get(f"/api/v1/jobs/{job['id']}/events", params={"after": last, "wait_s": 0.3}).json()
    assert page == {"events": [], "after": last, "state": "paused"}
    told = threading.Timer(0.3, lambda: client.post(f"/api/v1/jobs/{job['id']}/cancel"))
    told.start()
    page = client.get(f"/api/v1/jobs/{job['id']}/events", params={"after": last, "wait_s": 30}).json()
    assert [event["data"]["state"] for event in page["events"]] == ["cancelled"]
    told.join()


def test_a_client_that_leaves_is_gone_at_once(served: Live, client: httpx.Client) -> None:
    job = submit(client, dict(LONG))
    with (
        httpx.Client(base_url=served.url, trust_env=False) as other,
        other.stream("GET", f"/api/v1/jobs/{job['id']}/events", headers=SSE) as answer,
    ):
        lines = answer.iter_lines()
        next(lines)
        until(lambda: any(waiter.job_id == job["id"] for waiter in served.state.watcher.waiting))
    until(lambda: not any(waiter.job_id == job["id"] for waiter in served.state.watcher.waiting))
    client.post(f"/api/v1/jobs/{job['id']}/cancel")
    assert finished(client, job["id"])["state"] == "cancelled"


def test_steering(client: httpx.Client) -> None:
    job = submit(client, dict(LONG))["id"]
    until(lambda: client.get(f"/api/v1/jobs/{job}").json()["progress"]["done"] > 10)
    paused = client.post(f"/api/v1/jobs/{job}/pause").json()
    check("JobAnswer", paused)
    assert (paused["state"], paused["wish"]) in (("running", "pause"), ("paused", ""))
    until(lambda: client.get(f"/api/v1/jobs/{job}").json()["state"] == "paused")
    assert client.delete(f"/api/v1/jobs/{job}").status_code == 409
    assert client.post(f"/api/v1/jobs/{job}/resume").json()["state"] == "queued"
    client.post(f"/api/v1/jobs/{job}/cancel")
    assert finished(client, job)["state"] == "cancelled"
    refused = client.post(f"/api/v1/jobs/{job}/resume")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")


def test_the_same_key_gives_the_same_job(client: httpx.Client) -> None:
    first = submit(client, {"to": 1}, {"idempotency-key": "one"})
    assert submit(client, {"to": 1}, idempotency_key="one")["id"] == first["id"]
    assert submit(client, {"to": 1}, {"idempotency-key": "one"}, idempotency_key="one")["id"] == first["id"]
    body = {"kind": "count", "params": {"to": 1}, "idempotency_key": "two"}
    differ = client.post("/api/v1/jobs", json=body, headers={"idempotency-key": "one"})
    assert (differ.status_code, differ.json()["error"]["param"]) == (400, "idempotency_key")
    other = client.post("/api/v1/jobs", json={**body, "params": {"to": 2}, "idempotency_key": "one"})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")
    empty = client.post("/api/v1/jobs", json=body, headers={"idempotency-key": "k" * 256})
    assert (empty.status_code, empty.json()["error"]["param"]) == (400, "Idempotency-Key")


def test_lists_filter_and_page(client: httpx.Client) -> None:
    ids = [submit(client, {"to": 1}, labels={"group": "g:1", "number": str(number)})["id"] for number in range(5)]
    for job_id in ids:
        finished(client, job_id)
    found, before = [], None
    for size in (2, 2, 1):
        query = {"label": "group:g:1", "limit": "2", **({"before": before} if before else {})}
        page = client.get("/api/v1/jobs", params=query).json()
        check("JobListAnswer", page)
        assert len(page["jobs"]) == size
        found += [job["id"] for job in page["jobs"]]
        before = page["before"]
    assert found == ids[::-1] and before is None
    both = client.get("/api/v1/jobs", params=[("label", "group:g:1"), ("label", "number:3")]).json()["jobs"]
    assert [job["id"] for job in both] == [ids[3]]
    assert client.get("/api/v1/jobs", params={"label": "group:g:1", "state": "failed"}).json()["jobs"] == []
    assert client.get("/api/v1/jobs", params={"label": "group:g:1", "kind": "pull"}).json()["jobs"] == []
    states = {"state": ["failed", "succeeded"], "label": "group:g:1"}
    assert len(client.get("/api/v1/jobs", params=states).json()["jobs"]) == 5


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "kind"),
        ({"kind": "cuont"}, 404, "kind"),
        ({"kind": "count"}, 400, "params.to"),
        ({"kind": "count", "params": {"to": "many"}}, 400, "params.to"),
        ({"kind": "count", "params": {"to": 1, "form": 1}}, 400, "params.form"),
        ({"kind": "count", "params": []}, 400, "params"),
        ({"kind": "count", "params": {"to": 1}, "priority": "urgent"}, 400, "priority"),
        ({"kind": "count", "params": {"to": 1}, "deadline_s": 0}, 400, "deadline_s"),
        ({"kind": "count", "params": {"to": 1}, "retry": {"attempts": 0}}, 400, "retry.attempts"),
        ({"kind": "count", "params": {"to": 1}, "resources": {"cores": -1}}, 400, "resources.cores"),
        ({"kind": "count", "params": {"to": 1}, "depends_on": ["job_0"]}, 404, "depends_on"),
        ({"kind": "count", "params": {"to": 1}, "depends_on": ["\u0000"]}, 400, "depends_on[0]"),
        ({"kind": "count", "params": {"to": 1}, "project": "other"}, 400, "project"),
        ({"kind": "import", "params": {"path": "/etc"}}, 400, "params.path"),
        ({"kind": "pull", "params": {"model": "file:/etc"}}, 400, "params.model"),
    ],
)
def test_bad_bodies_name_the_field(client: httpx.Client, body: dict[str, Any], status: int, param: str) -> None:
    answer = client.post("/api/v1/jobs", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text


@pytest.mark.parametrize(
    ("path", "headers", "param"),
    [
        ("/api/v1/jobs?state=runing", {}, "query.state[0]"),
        ("/api/v1/jobs?limit=0", {}, "query.limit"),
        ("/api/v1/jobs?kind=%00", {}, "query.kind"),
        ("/api/v1/jobs?before=%00", {}, "query.before"),
        ("/api/v1/jobs/%00", {}, "path.id"),
        ("/api/v1/jobs?label=team", {}, "label"),
        ("/api/v1/jobs/{id}/events?after=-1", {}, "query.after"),
        ("/api/v1/jobs/{id}/events?types=stat", {}, "types"),
        ("/api/v1/jobs/{id}/events", {"last-event-id": "x"}, "Last-Event-ID"),
        ("/api/v1/jobs/{id}/events?wait_s=0", {}, "query.wait_s"),
    ],
)
def test_bad_queries_name_the_field(client: httpx.Client, path: str, headers: dict[str, str], param: str) -> None:
    job_id = submit(client, {"to": 1}, idempotency_key="for queries")["id"]
    answer = client.get(path.replace("{id}", job_id), headers=headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


def test_kinds_say_what_they_want(client: httpx.Client) -> None:
    found = client.get("/api/v1/job-kinds").json()
    check("KindListAnswer", found)
    kinds = {kind["kind"]: kind for kind in found["kinds"]}
    assert {"pull", "import", "count"} <= set(kinds)
    assert kinds["count"]["params"]["properties"]["to"]["minimum"] == 1
    assert (kinds["count"]["checkpoints"], kinds["count"]["scope"], kinds["pull"]["scope"]) == (True, "jobs", "library")
    assert all(kinds[name]["about"] for name in ("pull", "import", "batch", "count"))


def test_the_status_is_all_in_one(served: Live, client: httpx.Client) -> None:
    job = submit(client, dict(LONG))["id"]
    until(lambda: client.get(f"/api/v1/jobs/{job}").json()["state"] == "running")
    body = {"model": "fake-slow", "prompt": "Hi", "max_tokens": 100, "stream": True}
    with client.stream("POST", "/v1/completions", json=body) as answer:
        lines = answer.iter_lines()
        for _ in range(40):
            next(lines)
        status = client.get("/api/v1/status").json()
        check("StatusAnswer", status)
        assert status["queue"]["running"] == 1 and status["queue"]["tokens_per_s"] > 0
        assert 0 < status["queue"]["ttft_p50_s"] < 10
        [model] = [model for model in status["models"] if model["name"] == "fake-slow"]
        assert model["running"] == 1 and model["tokens_per_s"] == status["queue"]["tokens_per_s"]
    assert job in [row["id"] for row in status["jobs"]] and status["counts"]["running"] >= 1
    assert [runner["alive"] for runner in status["runners"]] == [True]
    client.post(f"/api/v1/jobs/{job}/cancel")
    until(lambda: client.get("/api/v1/status").json()["queue"]["running"] == 0)


# -- projects ----------------------------------------------------------------------------------------------------------
def test_a_job_of_another_project_is_not_there(keyed: tuple[Live, dict[str, dict[str, str]]]) -> None:
    server, who = keyed
    client = server.client
    job = submit(client, dict(LONG), who["red"], idempotency_key="same")
    assert (job["project"], job["submitted_by"] != "") == ("red", True)
    verbs = [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/events"),
        ("POST", "/cancel"),
        ("POST", "/pause"),
        ("POST", "/resume"),
    ]
    for method, end in verbs:
        for headers in (who["blue"], who["blue"] | SSE):
            there = client.request(method, f"/api/v1/jobs/{job['id']}{end}", headers=headers)
            nowhere = client.request(method, f"/api/v1/jobs/job_0{end}", headers=headers)
            assert (there.status_code, there.json()["error"]["code"]) == (404, "not_found"), (method, end)
            assert there.text.replace(job["id"], "job_0") == nowhere.text
    assert client.get("/api/v1/jobs", headers=who["blue"]).json()["jobs"] == []
    needs = {"kind": "count", "params": {"to": 1}, "depends_on": [job["id"]]}
    assert client.post("/api/v1/jobs", json=needs, headers=who["blue"]).json()["error"]["param"] == "depends_on"
    own = submit(client, {"to": 1}, who["blue"], idempotency_key="same")
    assert own["id"] != job["id"]
    assert job["id"] in [row["id"] for row in client.get("/api/v1/jobs", headers=who["admin"]).json()["jobs"]]
    assert client.get(f"/api/v1/jobs/{job['id']}", headers=who["red"]).json()["state"] in ("queued", "running")
    assert client.post(f"/api/v1/jobs/{job['id']}/cancel", headers=who["admin"]).status_code == 200
    finished(client, job["id"], who["red"])
    cancelled = client.get(f"/api/v1/jobs/{job['id']}/events", params={"types": "state"}, headers=who["red"]).json()["events"]
    assert any("by key_" in event["data"]["why"] or " by " in event["data"]["why"] for event in cancelled)


def test_scopes_and_priorities(keyed: tuple[Live, dict[str, dict[str, str]]]) -> None:
    server, who = keyed
    client = server.client
    for method, path in (
        ("GET", "/api/v1/jobs"),
        ("POST", "/api/v1/jobs"),
        ("GET", "/api/v1/status"),
        ("GET", "/api/v1/job-kinds"),
    ):
        refused = client.request(method, path, headers=who["reader"], json={"kind": "count", "params": {"to": 1}})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "scope_missing"), path
    pull = {"kind": "pull", "params": {"model": "gpt2"}}
    refused = client.post("/api/v1/jobs", json=pull, headers=who["red"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "scope_missing")
    assert submit(client, {"to": 1}, who["red"])["priority"] == "normal"
    assert submit(client, {"to": 1}, who["blue"])["priority"] == "batch"
    body = {"kind": "count", "params": {"to": 1}, "priority": "normal"}
    urgent = client.post("/api/v1/jobs", json=body, headers=who["blue"])
    assert (urgent.status_code, urgent.json()["error"]["param"]) == (400, "priority")
    assert submit(client, {"to": 1}, who["red"], priority="batch")["priority"] == "batch"
    with LLMOS(server.url, api_key=who["blue"]["authorization"].removeprefix("Bearer ")) as llmos:
        assert llmos.jobs.submit("count", {"to": 1}).record.priority == "batch"
        with pytest.raises(errors.InvalidValue, match="priority"):
            llmos.jobs.submit("count", {"to": 1}, priority="interactive")


def test_a_server_that_stops_ends_streams_and_hands_its_jobs_on(tmp_path: Path) -> None:
    with start(tmp_path) as running:
        job = submit(running.client, dict(LONG))["id"]
        until(lambda: running.client.get(f"/api/v1/jobs/{job}").json()["progress"]["done"] > 20)
        with running.client.stream("GET", f"/api/v1/jobs/{job}/events", headers=SSE) as answer:
            lines = answer.iter_lines()
            next(lines)
            running.state.draining = True
            for _ in lines:
                pass
        until(lambda: running.client.get(f"/api/v1/jobs/{job}").json()["state"] == "queued", timeout_s=20)
    with start(tmp_path) as running:
        until(lambda: running.client.get(f"/api/v1/jobs/{job}").json()["attempt"] == 2)
        events = running.client.get(f"/api/v1/jobs/{job}/events", params={"types": "log"}).json()["events"]
        assert events[0]["data"]["text"].startswith("counting from 1 ")
        running.client.post(f"/api/v1/jobs/{job}/cancel")
        assert finished(running.client, job)["state"] == "cancelled"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_two_servers_share_one_queue(tmp_path: Path, database_url: str) -> None:
    with start(tmp_path / "a", database_url) as one, start(tmp_path / "b", database_url) as two:
        job = submit(one.client, {"to": 40, "pause_s": 0.02})["id"]
        events, _ = stream(two.client, job)
        assert [int(event["id"]) for event in events] == list(range(1, len(events) + 1))
        assert json.loads(events[-1]["data"])["data"]["state"] == "succeeded"
        assert stream(one.client, job)[0] == events
        long = submit(two.client, dict(LONG))["id"]
        until(lambda: one.client.get(f"/api/v1/jobs/{long}").json()["progress"]["done"] > 5)
        assert len(one.client.get("/api/v1/status").json()["runners"]) == 2
        one.client.post(f"/api/v1/jobs/{long}/cancel")
        assert finished(two.client, long)["state"] == "cancelled"
