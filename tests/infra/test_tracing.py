"""Traces as a collector gets them over OTLP/HTTP: the tree, its times, the GenAI names, and what must not be in them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

from llmos.infra.tracing import Span, Tracer, open_tracer
from llmos.kernel.base import Job, JobEvent, JobState, Priority
from llmos.server.spans import job_span
from llmos.settings import Settings
from tests.doubles import fake_pool
from tests.infra.collector import Collector, Received
from tests.promises import kinds  # noqa: F401  # registers the kind that counts
from tests.server.live import live

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"  # the example of W3C Trace Context
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
BODY = {
    "model": "fake",
    "messages": [{"role": "user", "content": "my diary"}],
    "temperature": 0.5,
    "seed": 7,
    "max_tokens": 5,
    "stop": ["@"],
}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def settings_for(collector: Collector, home: Path, **more: str) -> Settings:
    environ = {"LLMOS_HOME": str(home), "LLMOS_NUM_THREADS": "2", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    return Settings.from_env(environ | more)


def only(spans: list[Received], name: str) -> Received:
    [found] = [span for span in spans if span.name == name]
    return found


def test_a_tree_arrives_with_its_times(collector: Collector) -> None:
    tracer = Tracer(collector.url)
    child = Span(name="child", begin_ns=1_000, end_ns=2_000, error="engine_died")
    whole = Span(name="whole", kind="server", begin_ns=500, end_ns=9_000, attributes={"a": 1, "none": None}, children=(child,))
    trace_id = tracer.record(whole)
    tracer.close()
    parent, inside = only(collector.spans, "whole"), only(collector.spans, "child")
    assert (parent.begin_ns, parent.end_ns, inside.begin_ns, inside.end_ns) == (500, 9_000, 1_000, 2_000)
    assert (inside.parent_id, parent.parent_id) == (parent.span_id, "")
    assert {parent.trace_id, inside.trace_id} == {trace_id}
    assert (parent.kind, inside.kind) == ("SERVER", "INTERNAL")
    assert parent.attributes == {"a": 1}
    assert (parent.error, inside.error, inside.attributes) == (False, True, {"error.type": "engine_died"})
    assert parent.resource["service.name"] == "llmos"


def test_the_callers_trace_goes_on(collector: Collector) -> None:
    tracer = Tracer(collector.url)
    assert tracer.record(Span(name="a", begin_ns=1, end_ns=2), traceparent=TRACEPARENT) == TRACE
    assert tracer.record(Span(name="b", begin_ns=1, end_ns=2), traceparent="00-nonsense-01") != TRACE
    tracer.record(Span(name="unsampled", begin_ns=1, end_ns=2), traceparent=f"00-{TRACE}-{PARENT}-00")
    tracer.close()
    assert only(collector.spans, "a").parent_id == PARENT
    assert only(collector.spans, "b").parent_id == ""
    assert {span.name for span in collector.spans} == {"a", "b"}, "the caller said that this trace is not kept"


def test_no_secret_is_in_a_span(collector: Collector) -> None:
    secret = f"hf_{'x' * 30}"
    tracer = Tracer(collector.url)
    tracer.record(Span(name=f"load {secret}", begin_ns=1, end_ns=2, attributes={"a": secret, "b": [secret]}))
    tracer.close()
    assert collector.spans
    assert secret.encode() not in b"".join(collector.raw)


def test_nobody_asked_for_traces(settings: Settings) -> None:
    assert open_tracer(settings) is None


def test_without_the_extra_it_is_said_and_nothing_breaks(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """A Python that does not find the package, as one without the extra does."""
    code = """
import logging, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
logging.basicConfig(stream=sys.stdout)
from llmos.infra.tracing import open_tracer
from llmos.settings import Settings
assert open_tracer(Settings.from_env({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})) is None
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'llmos[otel]'" in answer.stdout


def test_a_collector_that_is_down_costs_only_spans(tmp_path: Path) -> None:
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path), "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
    with live(settings, fake_pool(settings, tmp_path)) as served:
        assert served.client.post("/v1/chat/completions", json=BODY).status_code == 200


# -- requests ------------------------------------------------------------------------------------------------------------
def test_a_request_is_a_tree_with_the_genai_names(collector: Collector, tmp_path: Path) -> None:
    settings = settings_for(collector, tmp_path)
    with live(settings, fake_pool(settings, tmp_path)) as served:
        answer = served.client.post("/v1/chat/completions", json=BODY, headers={"traceparent": TRACEPARENT}).json()
    spans = collector.spans
    request, chat = only(spans, "POST /v1/chat/completions"), only(spans, "chat fake")
    assert (request.trace_id, request.parent_id, request.kind) == (TRACE, PARENT, "SERVER")
    assert request.attributes["http.response.status_code"] == 200
    assert chat.parent_id == request.span_id
    assert {span.name for span in spans if span.parent_id == chat.span_id} == {"queue", "load", "generate"}
    for span in spans:
        assert request.begin_ns <= span.begin_ns <= span.end_ns <= request.end_ns
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "llmos",
        "gen_ai.request.model": "fake",
        "gen_ai.response.model": "fake",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.seed": 7,
        "gen_ai.request.max_tokens": 5,
        "gen_ai.request.stop_sequences": ["@"],
        "gen_ai.usage.input_tokens": answer["usage"]["prompt_tokens"],
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.response.finish_reasons": ["length"],
    }
    assert {name: chat.attributes.get(name) for name in expected} == expected
    assert b"my diary" not in b"".join(collector.raw)
    [line] = [json.loads(line) for line in (tmp_path / "logs/requests.jsonl").read_text().splitlines()]
    assert line["trace_id"] == TRACE


def test_names_are_those_of_the_installed_conventions(collector: Collector, tmp_path: Path) -> None:
    from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

    known = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_") and isinstance(value, str)}
    settings = settings_for(collector, tmp_path, LLMOS_LOG_CONTENTS="1", OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="true")
    with live(settings, fake_pool(settings, tmp_path)) as served:
        served.client.post("/v1/chat/completions", json=BODY | {"n": 2, "top_k": 3})
    used = {name for span in collector.spans for name in span.attributes if name.startswith("gen_ai.")}
    assert len(used) > 12
    assert used <= known


@pytest.mark.parametrize(("log_contents", "capture", "kept"), [("1", "true", True), ("1", "", False), ("", "true", False)])
def test_contents_need_both_words(collector: Collector, tmp_path: Path, log_contents: str, capture: str, kept: bool) -> None:
    more = {"LLMOS_LOG_CONTENTS": log_contents, "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": capture}
    settings = settings_for(collector, tmp_path, **more)
    with live(settings, fake_pool(settings, tmp_path)) as served:
        served.client.post("/v1/chat/completions", json=BODY)
    assert (b"my diary" in b"".join(collector.raw)) == kept
    if kept:
        chat = only(collector.spans, "chat fake")
        assert json.loads(chat.attributes["gen_ai.input.messages"]) == [
            {"role": "user", "parts": [{"type": "text", "content": "my diary"}]}
        ]
        [answer] = json.loads(chat.attributes["gen_ai.output.messages"])
        assert (answer["role"], answer["parts"][0]["content"]) == ("assistant", "Hello")


def test_errors_have_their_code(collector: Collector, tmp_path: Path) -> None:
    settings = settings_for(collector, tmp_path)
    with live(settings, fake_pool(settings, tmp_path)) as served:
        served.client.post("/v1/chat/completions", json=BODY | {"model": "nowhere"})
        served.client.post(
            "/v1/chat/completions", json=BODY | {"model": "fake-fail", "messages": [{"role": "user", "content": "fail"}]}
        )
    mine, ours = [span for span in collector.spans if span.kind == "SERVER"]
    assert (mine.attributes["http.response.status_code"], mine.error) == (404, False)
    assert (ours.attributes["http.response.status_code"], ours.error, ours.attributes["error.type"]) == (500, True, "engine_error")
    assert only(collector.spans, "chat nowhere").attributes["error.type"] == "not_found"


# -- jobs ----------------------------------------------------------------------------------------------------------------
def test_a_job_is_a_tree_of_its_states() -> None:
    def state(seq: int, attempt: int, name: str, second: int) -> JobEvent:
        at = f"2026-01-01T00:00:{second:02}.000+00:00"
        return JobEvent(job_id="job_1", seq=seq, attempt=attempt, at=at, type="state", data={"state": name, "why": ""})

    told = [(0, "queued", 0), (1, "running", 2), (1, "queued", 5), (2, "running", 6), (2, "succeeded", 9)]
    events = [state(seq, attempt, name, second) for seq, (attempt, name, second) in enumerate(told, 1)]
    row = Job(**{field.name: None for field in fields(Job)})  # type: ignore[arg-type]
    job = replace(row, id="job_1", kind="pull", state=JobState.SUCCEEDED, attempt=2, project="p", priority=Priority.NORMAL)
    span = job_span(job, events)
    lasted = [(child.name, (child.end_ns - child.begin_ns) / 1e9, child.error) for child in span.children]
    assert lasted == [("queued", 2, ""), ("attempt 1", 3, "attempt_failed"), ("queued", 1, ""), ("attempt 2", 3, "")]
    assert (span.name, span.error, (span.end_ns - span.begin_ns) / 1e9) == ("job pull", "", 9)


def test_jobs_that_end_are_traced_in_the_trace_they_belong_to(collector: Collector, tmp_path: Path) -> None:
    settings = settings_for(collector, tmp_path)
    with live(settings, fake_pool(settings, tmp_path)) as served:
        order = {"kind": "promise-steps", "params": {"steps": 3, "step_s": 0}}
        made = served.client.post("/api/v1/jobs", json=order, headers={"traceparent": TRACEPARENT}).json()
        served.state.jobs.wait(made["id"], timeout_s=60)
        until = time.monotonic() + 20
        while served.state.jobs._runner.running():  # type: ignore[union-attr]
            assert time.monotonic() < until
            time.sleep(0.05)
    job = only(collector.spans, "job promise-steps")
    assert (job.trace_id, job.parent_id) == (TRACE, PARENT)
    assert job.attributes["llmos.job.id"] == made["id"]
    assert {span.name for span in collector.spans if span.parent_id == job.span_id} == {"queued", "attempt 1"}
