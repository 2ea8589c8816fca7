"""What is told of a request once it is over: metrics, the request log, a trace. One call from the gate's end, nothing before it.

Gate.observe -> Telemetry.over(scope, status, seconds) -> Metrics     what everybody may count
                                                       -> RequestLog  one line: ids and figures; contents where allowed
                                                       -> Tracer      request > queue, load, generate
"""

from __future__ import annotations

import time
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Scope

from llmos.access.base import LOCAL, Caller
from llmos.errors import LLMOSError
from llmos.infra.logs import get_logger
from llmos.infra.tracing import Tracer, open_tracer
from llmos.kernel.runner import Runner
from llmos.kernel.store import JobStore
from llmos.server.gate import OPEN_PATHS
from llmos.server.metrics import Metrics
from llmos.server.requestlog import RequestLog
from llmos.server.spans import job_span, request_span
from llmos.server.track import Track, tracked
from llmos.settings import Settings

log = get_logger("server")
PAGE = 1000  # events of a job at once
UNLOGGED = (*OPEN_PATHS, "/metrics")


class Telemetry:
    """One an app; closed with it."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.metrics = metrics
        self.requests = RequestLog(settings.home / "logs", on_lost=metrics.log_lost.inc)
        self.tracer: Tracer | None = open_tracer(settings)
        self._capture = settings.otel_capture_contents

    def over(self, scope: Scope, status: int, seconds: float) -> None:
        """scope["state"] has request_id, and "asked" and "answered", the two bodies, when the contents may be kept."""
        end = time.perf_counter()
        self.metrics.observe(scope, status, seconds)
        track = tracked(scope)
        if track is not None:
            self.metrics.tracked(track, status, arrived=end - seconds)
        _say(scope, status, seconds)
        if scope["path"] in UNLOGGED:
            return
        record = _record(scope, status, seconds, track)
        if track is not None and track.first_at is not None:
            record["ttft_s"] = round(track.first_at - (end - seconds), 6)
        if self.tracer is not None:
            header = Headers(scope=scope).get("traceparent")
            try:
                span = request_span(scope, status, track, begin=end - seconds, end=end, capture=self._capture)
                record["trace_id"] = self.tracer.record(span, traceparent=header)
            except Exception:  # a trace is never worth a request
                log.exception("a request could not be traced", extra={"request_id": record["request_id"]})
        self.requests.write(record)

    def trace_jobs(self, runner: Runner) -> None:
        """Has the jobs that end at this runner traced too; a label `traceparent` says to whose trace a job belongs."""
        if self.tracer is not None:
            runner.on_gone = lambda job_id: _trace_job(runner.store, self.tracer, job_id)

    def close(self) -> None:
        self.requests.close()
        if self.tracer is not None:
            self.tracer.close()


def _say(scope: Scope, status: int, seconds: float) -> None:
    """A line in the server's own log, without contents."""
    state = scope["state"]
    facts = {"method": scope["method"], "path": scope["path"], "status": status, "seconds": round(seconds, 4)}
    log.info("request", extra=facts | {"request_id": state["request_id"], "user": state.get("user")})


def _trace_job(store: JobStore, tracer: Tracer | None, job_id: str) -> None:
    """Nothing while the job is not over. It runs in the runner's thread, which must go on whatever happens."""
    try:
        job = store.get(job_id)
        if tracer is not None and job.state.final:
            events, after = [], 0
            while page := store.events(job_id, after=after, limit=PAGE):
                events += [event for event in page if event.type == "state"]
                after = page[-1].seq
            tracer.record(job_span(job, events), traceparent=job.labels.get("traceparent"))
    except LLMOSError as problem:
        log.warning("a job is not traced", extra={"job_id": job_id, "why": str(problem)})


def _record(scope: Scope, status: int, seconds: float, track: Track | None) -> dict[str, Any]:
    """The line of the request log. "key" is no secret here: the id of a key, never the key."""
    state: dict[str, Any] = scope["state"]
    caller: Caller = state.get("caller", LOCAL)
    record: dict[str, Any] = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "request_id": state["request_id"],
        "key_id": caller.key_id,
        "project": caller.project,
        "method": scope["method"],
        "route": getattr(scope.get("route"), "path", scope["path"]),
        "status": status,
        "total_s": round(seconds, 6),
    }
    if track is not None:
        usage = track.usage
        record |= {
            "error": track.error or None,
            "asked_model": track.asked or None,
            "model": track.model or None,
            "engine": track.engine or None,
            "priority": track.priority or None,
            "stream": track.streamed,
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": usage.cached_tokens,
            "completion_tokens": usage.completion_tokens,
            "queue_s": _rounded(track.seconds("queue")),
            "load_s": _rounded(track.seconds("load")),
        }
    for name, told in (("user", "user"), ("asked", "request"), ("answered", "response")):
        if name in state:
            record[told] = state[name]
    return record


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
