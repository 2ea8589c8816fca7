"""What a server tells Prometheus and its request log: that figures are true, labels bounded, and a full disk harmless."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import Scope

from llmos.engine.pool import Pool
from llmos.infra.database import Database, open_database
from llmos.infra.tables import jobs
from llmos.server.gauges import JobWaits
from llmos.server.limits import Limits
from llmos.server.metrics import MAX_NAMES, Metrics
from llmos.server.requestlog import RequestLog
from llmos.server.track import Track
from llmos.settings import Settings
from llmos.types import Usage
from tests.doubles import FakeLibrary, fake_cards, fake_pool
from tests.server.live import live

Labels = tuple[tuple[str, str], ...]


def scrape(client: httpx.Client) -> dict[str, dict[Labels, float]]:
    """Sample name -> labels -> value, of a whole exposition that must be valid."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def value(client: httpx.Client, name: str, **labels: str) -> float:
    return scrape(client).get(name, {}).get(tuple(sorted(labels.items())), 0.0)


def chat(client: httpx.Client, model: str = "fake", **fields: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **fields}
    return client.post("/v1/chat/completions", json=body)


def test_tokens_are_counted_once_however_the_answer_is_handed_over(client: httpx.Client) -> None:
    read, written = "llmos_prompt_tokens_total", "llmos_output_tokens_total"
    before = value(client, read, model="fake"), value(client, written, model="fake")
    usage = chat(client).json()["usage"]
    after = value(client, read, model="fake"), value(client, written, model="fake")
    assert after[0] - before[0] == usage["prompt_tokens"]
    assert after[1] - before[1] == usage["completion_tokens"] > 0
    assert chat(client, stream=True).text.endswith("[DONE]\n\n")
    assert value(client, written, model="fake") - after[1] == usage["completion_tokens"]


def test_every_route_that_reads_tokens_counts_them(client: httpx.Client) -> None:
    before = value(client, "llmos_prompt_tokens_total", model="fake-encoder")
    answer = client.post("/v1/embeddings", json={"model": "fake-encoder", "input": ["one", "two"]}).json()
    assert value(client, "llmos_prompt_tokens_total", model="fake-encoder") - before == answer["usage"]["prompt_tokens"] > 0
    before = value(client, "llmos_prompt_tokens_total", model="fake-classifier")
    client.post("/v1/rerank", json={"model": "fake-classifier", "query": "q", "documents": ["a", "b"]})
    client.post("/api/v1/predict", json={"model": "fake-classifier", "input": "text", "labels": ["negative", "positive"]})
    assert value(client, "llmos_prompt_tokens_total", model="fake-classifier") > before


def test_a_stream_has_a_first_token_and_gaps_and_a_whole_answer_has_none(client: httpx.Client) -> None:
    first, gaps = "llmos_time_to_first_token_seconds_count", "llmos_inter_token_seconds_count"
    before = value(client, first, model="fake"), value(client, gaps, model="fake")
    chat(client)
    assert (value(client, first, model="fake"), value(client, gaps, model="fake")) == before
    chat(client, stream=True)
    assert value(client, first, model="fake") == before[0] + 1
    assert value(client, gaps, model="fake") > before[1]


def test_gaps_are_times_of_one_token(client: httpx.Client) -> None:
    """fake-slow sleeps 20 ms before each token."""
    chat(client, "fake-slow", stream=True, max_tokens=10)
    found = scrape(client)
    key = (("model", "fake-slow"),)
    mean = found["llmos_inter_token_seconds_sum"][key] / found["llmos_inter_token_seconds_count"][key]
    assert mean > 0.015
    assert found["llmos_time_to_first_token_seconds_sum"][key] > 0.02


def test_errors_are_counted_by_their_code(client: httpx.Client) -> None:
    before = scrape(client).get("llmos_refusals_total", {})
    chat(client, "no-such-model")
    chat(client, temperature=9)
    client.get("/nowhere")
    after = scrape(client)["llmos_refusals_total"]
    new = {key: number - before.get(key, 0) for key, number in after.items() if number > before.get(key, 0)}
    assert {dict(key)["reason"] for key in new} == {"not_found", "invalid_value"}
    assert {(dict(key)["reason"], dict(key)["status"]): number for key, number in new.items()} == {
        ("not_found", "404"): 2,
        ("invalid_value", "400"): 1,
    }


def test_memory_is_told_by_model_and_of_all(client: httpx.Client) -> None:
    chat(client)
    found = scrape(client)
    by_model = found["llmos_model_memory_bytes"]
    assert by_model[("engine", "fake/default"), ("model", "fake")] > 0
    assert sum(by_model.values()) == found["llmos_models_memory_bytes"][()]
    assert found["llmos_memory_budget_bytes"][()] >= found["llmos_models_memory_bytes"][()]


def test_a_model_that_was_unloaded_is_gone_from_the_answer(client: httpx.Client) -> None:
    chat(client)
    client.delete("/api/v1/loaded/fake")
    assert not any(dict(key)["model"] == "fake" for key in scrape(client)["llmos_model_memory_bytes"])


def test_the_process_tells_its_size(client: httpx.Client) -> None:
    found = scrape(client)
    assert found["process_resident_memory_bytes"][()] > 10e6
    assert found["process_open_fds"][()] > 3
    assert found["process_threads"][()] >= threading.active_count() - 1


def test_the_queue_is_told_by_class(tmp_path: Path) -> None:
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path), "LLMOS_NUM_THREADS": "2"})
    with live(settings, fake_pool(settings, tmp_path), limits=Limits(slots=1)) as served, ThreadPoolExecutor(3) as threads:
        running = [threads.submit(chat, served.client, "fake-slow", max_tokens=40) for _ in range(3)]
        while served.state.admission.waiting < 2:
            time.sleep(0.005)
        found = scrape(served.client)
        assert sum(found["llmos_queue_length"].values()) == found["llmos_requests_waiting"][()] == 2
        assert found["llmos_requests_running"][()] == 1
        assert [future.result().status_code for future in running] == [200] * 3
        waited = scrape(served.client)
        assert sum(waited["llmos_queue_seconds_count"].values()) == 3
        assert sum(waited["llmos_queue_seconds_sum"].values()) > 0.5


def test_metrics_are_behind_the_key(tmp_path: Path) -> None:
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path), "LLMOS_API_KEY": "k" * 40, "LLMOS_NUM_THREADS": "2"})
    with live(settings, fake_pool(settings, tmp_path)) as served:
        assert served.client.get("/metrics").status_code == 401
        headers = {"authorization": f"Bearer {'k' * 40}"}
        assert served.client.get("/metrics", headers=headers).status_code == 200
        text = served.client.get("/metrics", headers=headers).text
        assert 'llmos_refusals_total{reason="permission_denied",status="401"} 1.0' in text


def test_labels_are_bounded_whatever_is_sent() -> None:
    """A flood of names, error codes, routes and methods; and the figures of all of them are still there."""
    metrics = Metrics()
    for number in range(1000):
        track = Track(asked=f"model-{number}", model=f"model-{number}", error=f"code-{number}", priority=f"class-{number}")
        track.count(Usage(prompt_tokens=1, completion_tokens=1))
        with track.phase("queue"), track.phase("load"):
            track.first_at = time.perf_counter()
        metrics.tracked(track, 200, arrived=time.perf_counter())
        metrics.gap(track.model)(0.01)
        metrics.job_waited(f"kind-{number}", 1.0)
        scope: Scope = {"type": "http", "method": f"METHOD{number}", "path": f"/p/{number}"}
        metrics.observe(scope, 200, 0.1)
    families = {family.name: family for family in text_string_to_metric_families(metrics.text().decode())}
    for family in families.values():
        for label in ("model", "reason", "kind", "priority", "route", "method"):
            assert len({sample.labels[label] for sample in family.samples if label in sample.labels}) <= MAX_NAMES + 1
    counted = [sample.value for sample in families["llmos_prompt_tokens"].samples if sample.name.endswith("_total")]
    assert (len(counted), sum(counted)) == (MAX_NAMES + 1, 1000)


def test_an_engine_that_died_under_a_stream_and_came_back_is_counted(tmp_path: Path) -> None:
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path), "LLMOS_NUM_THREADS": "2", "LLMOS_PROBE": "0"})
    pool = Pool(settings, FakeLibrary(tmp_path / "fake-model", fake_cards()), inline=False)
    with live(settings, pool) as served:
        body = {"model": "fake-slow", "messages": [{"role": "user", "content": "Hi"}], "stream": True, "max_tokens": 400}
        with served.client.stream("POST", "/v1/chat/completions", json=body) as stream:
            events = stream.iter_lines()
            next(events)
            [info] = pool.loaded()
            assert info.pid is not None
            os.kill(info.pid, signal.SIGKILL)
            assert "engine_died" in "".join(events)
        assert value(served.client, "llmos_refusals_total", reason="engine_died", status="200") == 1
        while value(served.client, "llmos_engine_restarts_total", model="fake-slow") == 0:
            time.sleep(0.05)
        served.client.delete("/api/v1/loaded/fake-slow")
        assert value(served.client, "llmos_engine_restarts_total", model="fake-slow") == 1, "a counter never goes down"


# -- jobs ----------------------------------------------------------------------------------------------------------------
@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(Settings.from_env({"LLMOS_HOME": str(tmp_path / "home")}))
    yield opened
    opened.close()


def add_job(database: Database, name: str, **changes: Any) -> None:
    row: dict[str, Any] = {column.name: "" for column in jobs.c} | {
        "attempt": 0,
        "failures": 0,
        "lost": 0,
        "beat": 0,
        "last_seq": 0,
    }
    row |= {column.name: None for column in jobs.c if column.nullable}
    row |= {"id": name, "kind": "pull", "state": "queued", "progress": "{}", "created_at": "2026-01-01T00:00:00+00:00"}
    with database.begin() as connection:
        connection.execute(jobs.insert().values(**(row | changes)))


def test_jobs_are_told_by_kind_and_state(tmp_path: Path, database: Database) -> None:
    add_job(database, "1")
    add_job(database, "2", kind="batch", state="running", progress=json.dumps({"done": 30, "total": 100}))
    add_job(database, "3", kind="batch", state="succeeded", progress=json.dumps({"done": 7, "total": 7}))
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path), "LLMOS_NUM_THREADS": "2"})
    with live(settings, fake_pool(settings, tmp_path, database=database)) as served:
        found = scrape(served.client)
        key = (("kind", "pull"), ("state", "queued"))
        assert found["llmos_jobs"][key] == 1
        assert found["llmos_jobs"][("kind", "batch"), ("state", "succeeded")] == 1
        assert found["llmos_batch_items"][(("state", "done"),)] == 30
        assert found["llmos_batch_items"][(("state", "left"),)] == 70
        assert found["llmos_database_up"][()] == 1


def test_waits_of_jobs_are_told_once(database: Database) -> None:
    waits = JobWaits()
    add_job(database, "old", started_at="2026-01-01T00:00:09+00:00")
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 60))
    add_job(database, "a", started_at=f"{now}.500000+00:00", created_at=f"{now}.000000+00:00")
    with database.begin(read_only=True) as connection:
        assert waits.news(connection) == [("pull", 0.5)]
        assert waits.news(connection) == []
    add_job(database, "b", started_at=f"{now}.400000+00:00", created_at=f"{now}.000000+00:00", kind="batch")
    with database.begin(read_only=True) as connection:
        assert waits.news(connection) == [("batch", 0.4)], "one that was committed a little late is not missed"


# -- the request log -----------------------------------------------------------------------------------------------------
def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_request_has_one_line_with_its_ids_and_figures(tmp_path: Path) -> None:
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path), "LLMOS_NUM_THREADS": "2"})
    with live(settings, fake_pool(settings, tmp_path)) as served:
        usage = chat(served.client).json()["usage"]
        chat(served.client, stream=True)
        chat(served.client, "no-such-model")
        served.client.get("/healthz")
        served.client.get("/metrics")
    whole, stream, refused = lines(tmp_path / "logs/requests.jsonl")
    assert whole["request_id"].startswith("req_")
    assert (whole["model"], whole["engine"], whole["status"], whole["project"]) == ("fake", "fake/default", 200, "default")
    assert (whole["prompt_tokens"], whole["completion_tokens"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert whole["total_s"] >= whole["load_s"] >= 0
    assert (stream["stream"], whole["stream"]) == (True, False)
    assert 0 < stream["ttft_s"] <= stream["total_s"]
    assert "ttft_s" not in whole
    assert (refused["status"], refused["error"], refused["asked_model"], refused["model"]) == (
        404,
        "not_found",
        "no-such-model",
        None,
    )
    assert "Hello" not in (tmp_path / "logs/requests.jsonl").read_text()


def test_contents_are_in_the_line_when_they_may_be_kept(tmp_path: Path) -> None:
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path), "LLMOS_LOG_CONTENTS": "1", "LLMOS_NUM_THREADS": "2"})
    with live(settings, fake_pool(settings, tmp_path)) as served:
        secret = f"sk-{'a' * 24}"
        body = {"model": "fake", "prompt": f"my diary {secret}", "max_tokens": 3}
        answer = served.client.post("/v1/completions", json=body)
    [line] = lines(tmp_path / "logs/requests.jsonl")
    assert "my diary" in line["request"]
    assert json.loads(line["response"]) == answer.json()
    assert secret not in json.dumps(line)


def test_contents_of_a_project_are_in_its_lines_when_it_keeps_them(tmp_path: Path) -> None:
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path), "LLMOS_API_KEY": "k" * 40, "LLMOS_NUM_THREADS": "2"})
    with live(settings, fake_pool(settings, tmp_path)) as served:
        admin = {"authorization": f"Bearer {'k' * 40}"}
        for project in ("lab", "shop"):
            made = served.client.post(
                "/api/v1/keys", json={"name": "k", "project": project, "scopes": ["inference"]}, headers=admin
            )
            kept = served.client.put(f"/api/v1/projects/{project}", json={"log_contents": project == "lab"}, headers=admin)
            assert (made.status_code, kept.status_code) == (200, 200), (made.text, kept.text)
            served.state.access.ring.refresh()
            body = {"model": "fake", "prompt": f"the diary of the {project}", "max_tokens": 3}
            headers = {"authorization": f"Bearer {made.json()['key']}"}
            assert served.client.post("/v1/completions", json=body, headers=headers).status_code == 200
    lab, shop = [line for line in lines(tmp_path / "logs/requests.jsonl") if line["route"] == "/v1/completions"]
    assert (lab["project"], shop["project"]) == ("lab", "shop")
    assert lab["key_id"] and lab["key_id"] != shop["key_id"]
    assert "the diary of the lab" in lab["request"]
    assert "request" not in shop
    assert "diary of the shop" not in (tmp_path / "logs/requests.jsonl").read_text()


def test_files_roll_over_by_size_and_the_oldest_goes(tmp_path: Path) -> None:
    log = RequestLog(tmp_path, max_bytes=1000, kept=2)
    for number in range(60):
        log.write({"number": number, "pad": "x" * 100})
        log.flush()
    log.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["requests.jsonl", "requests.jsonl.1", "requests.jsonl.2"]
    numbers = [line["number"] for name in reversed(names) for line in lines(tmp_path / name)]
    assert numbers == list(range(numbers[0], 60))
    assert all(path.stat().st_size < 1500 for path in tmp_path.iterdir())


def test_a_disk_that_cannot_be_written_is_said_once_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="llmos.server")
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path), "LLMOS_NUM_THREADS": "2"})
    (tmp_path / "logs").write_text("a file where the folder should be")
    with live(settings, fake_pool(settings, tmp_path)) as served:
        assert [chat(served.client).status_code for _ in range(3)] == [200, 200, 200]
        while value(served.client, "llmos_request_log_lost_lines_total") < 3:
            time.sleep(0.01)
        (tmp_path / "logs").unlink()
        assert chat(served.client).status_code == 200
    said = [record.message for record in caplog.records if "request log" in record.message]
    assert said == ["the request log cannot be written; requests go on without it", "the request log is written again"]
    assert len(lines(tmp_path / "logs/requests.jsonl")) == 1


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    """/dev/full says that the disk is full at every write."""
    lost: list[int] = []
    (tmp_path / "requests.jsonl").symlink_to("/dev/full")
    log = RequestLog(tmp_path, on_lost=lost.append)
    log.write({"number": 1})
    log.flush()
    assert lost == [1]
    (tmp_path / "requests.jsonl").unlink()
    log.write({"number": 2})
    log.close()
    assert lines(tmp_path / "requests.jsonl") == [{"number": 2}]
