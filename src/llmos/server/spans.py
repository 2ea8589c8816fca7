"""Requests and jobs as OpenTelemetry sees them. Pure.

A request: a server span (HTTP conventions), in it what a model did (GenAI conventions), in that the wait for a place, the load and
the generation.

    POST /v1/chat/completions
    └── chat smollm2-135m-instruct        gen_ai.operation.name, gen_ai.request.model, gen_ai.usage.input_tokens, …
        ├── queue
        ├── load
        └── generate

A job, once it is over, with every state that it was in:

    job pull
    ├── queued
    └── attempt 1
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from starlette.types import Scope

from llmos.access.base import LOCAL, Caller
from llmos.infra.tracing import Span, Value
from llmos.kernel.base import Job, JobEvent, JobState
from llmos.server.track import Track

PROVIDER = "llmos"
_OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/messages": "chat",
    "/api/chat": "chat",
    "/v1/completions": "text_completion",
    "/api/generate": "text_completion",
    "/v1/embeddings": "embeddings",
    "/api/embed": "embeddings",
}


def request_span(scope: Scope, status: int, track: Track | None, *, begin: float, end: float, capture: bool) -> Span:
    """begin, end: perf_counter instants. capture: contents too, where the gate kept them."""
    offset_ns = time.time_ns() - time.perf_counter_ns()

    def at(instant: float) -> int:
        return int(instant * 1e9) + offset_ns

    state: dict[str, Any] = scope["state"]
    caller: Caller = state.get("caller", LOCAL)
    route = getattr(scope.get("route"), "path", None)
    error = (track.error if track is not None else "") or (str(status) if status >= 500 else "")
    server = scope.get("server") or (None, None)
    children: tuple[Span, ...] = ()
    if track is not None and track.asked:
        children = (_model_span(scope, track, error, begin=begin, end=end, capture=capture, at=at),)
    return Span(
        name=f"{scope['method']} {route or '(none)'}",
        begin_ns=at(begin),
        end_ns=at(end),
        kind="server",
        error=error if status >= 500 else "",  # a client's mistake is no error of the server (HTTP conventions)
        attributes={
            "http.request.method": scope["method"],
            "http.route": route,
            "http.response.status_code": status,
            "url.path": scope["path"],
            "url.scheme": scope.get("scheme", "http"),
            "server.address": server[0],
            "server.port": server[1],
            "llmos.request.id": state["request_id"],
            "llmos.project": caller.project,
            "llmos.key.id": caller.key_id or None,
        },
        children=children,
    )


def job_span(job: Job, events: Sequence[JobEvent]) -> Span:
    """events: those of the type "state" at least, in order; the last one is the end of the job."""
    moves = [(JobState(event.data["state"]), _ns(event.at), event.attempt) for event in events if event.type == "state"]
    children = []
    for (state, begin_ns, attempt), (after, end_ns, _) in itertools.pairwise(moves):
        name = f"attempt {attempt}" if state is JobState.RUNNING else state.value
        error = "" if state is not JobState.RUNNING or after not in (JobState.QUEUED, JobState.FAILED) else "attempt_failed"
        children.append(Span(name=name, begin_ns=begin_ns, end_ns=max(begin_ns, end_ns), error=error))
    end_ns = moves[-1][1]
    return Span(
        name=f"job {job.kind}",
        begin_ns=moves[0][1],
        end_ns=end_ns,
        error=(job.error.code if job.error else "job_failed") if job.state is JobState.FAILED else "",
        attributes={
            "llmos.job.id": job.id,
            "llmos.job.kind": job.kind,
            "llmos.job.state": job.state.value,
            "llmos.job.attempts": job.attempt,
            "llmos.job.priority": job.priority.value,
            "llmos.project": job.project,
            "llmos.key.id": job.submitted_by or None,
        },
        children=tuple(children),
    )


def _ns(at: str) -> int:
    return int(datetime.fromisoformat(at).timestamp() * 1e9)


def _model_span(scope: Scope, track: Track, error: str, *, begin: float, end: float, capture: bool, at: Any) -> Span:
    operation = _OPERATIONS.get(scope["path"], scope["path"].rpartition("/")[2])
    parts = [Span(name=phase.name, begin_ns=at(phase.begin), end_ns=at(phase.end)) for phase in track.phases]
    if track.generate_at is not None:
        parts.append(Span(name="generate", begin_ns=at(track.generate_at), end_ns=at(end), error=error))
    return Span(
        name=f"{operation} {track.asked}",
        begin_ns=at(begin),
        end_ns=at(end),
        error=error,
        attributes=_of_model(operation, track, begin) | (_contents(scope["state"]) if capture else {}),
        children=tuple(parts),
    )


def _of_model(operation: str, track: Track, begin: float) -> dict[str, Value | None]:
    usage = track.usage
    found: dict[str, Value | None] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": track.asked,
        "gen_ai.response.model": track.model or None,
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.response.finish_reasons": track.finish_reasons or None,
        "llmos.engine": track.engine or None,
        "llmos.priority": track.priority or None,
        "llmos.time_to_first_token_s": None if track.first_at is None else track.first_at - begin,
    }
    generations = [one for group in track.groups for one in group.generations]
    if generations:
        sampling = generations[0].request.sampling
        found |= {
            "gen_ai.response.id": generations[0].id,
            "gen_ai.request.temperature": sampling.temperature,
            "gen_ai.request.top_p": sampling.top_p,
            "gen_ai.request.top_k": sampling.top_k or None,
            "gen_ai.request.max_tokens": sampling.max_tokens,
            "gen_ai.request.seed": sampling.seed,
            "gen_ai.request.choice.count": sampling.n if sampling.n != 1 else None,
            "gen_ai.request.stop_sequences": list(sampling.stop) or None,
            "gen_ai.request.frequency_penalty": sampling.frequency_penalty or None,
            "gen_ai.request.presence_penalty": sampling.presence_penalty or None,
        }
    return found


def _contents(state: dict[str, Any]) -> dict[str, Value | None]:
    """gen_ai.input.messages and gen_ai.output.messages as JSON, from bodies in the OpenAI form; other bodies as one text."""
    found: dict[str, Value | None] = {}
    if "asked" in state:
        body = _json(state["asked"])
        given = body.get("messages") if isinstance(body, dict) else None
        messages = given if isinstance(given, list) else [{"role": "user", "content": state["asked"]}]
        found["gen_ai.input.messages"] = json.dumps([_message(one) for one in messages])
    if "answered" in state:
        body = _json(state["answered"])
        choices = body.get("choices") if isinstance(body, dict) else None
        answers = [one.get("message", {"content": one.get("text")}) for one in choices] if choices else None
        messages = answers or [{"content": state["answered"]}]
        found["gen_ai.output.messages"] = json.dumps([_message({"role": "assistant", **one}) for one in messages])
    return found


def _message(message: Any) -> dict[str, Any]:
    given = message if isinstance(message, dict) else {"content": str(message)}
    content = given.get("content")
    text = content if isinstance(content, str) else json.dumps(content)
    return {"role": str(given.get("role", "user")), "parts": [{"type": "text", "content": text}]}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
