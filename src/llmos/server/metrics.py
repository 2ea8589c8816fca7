"""Figures of one server for Prometheus, named with their units: what is counted as requests end. gauges.py reads what is so now.

Labels are bounded, whatever clients send: routes are templates, models and error codes at most 64 each, then "other".
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from starlette.types import Scope

from llmos.server.track import Track
from llmos.types import Usage

MAX_NAMES = 64
OTHER = "other"
_METHODS = ("GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS")
_PRIORITIES = ("interactive", "normal", "batch")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_GAPS = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.5, 1, 5)
_WAITS = (0.01, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400)


class Names:
    """At most MAX_NAMES different values of a label; the ones that come later are "other"."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def label(self, name: str) -> str:
        if name not in self._known and len(self._known) >= MAX_NAMES:
            return OTHER
        self._known.add(name)
        return name


class Metrics:
    """One registry an app, so that two apps in one process do not share counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.models, self._codes, self._kinds = Names(), Names(), Names()
        self._of_http()
        self._of_models()
        self.job_wait = self._histogram(
            "llmos_job_queue_seconds", "From a job's submission to its first start.", ("kind",), buckets=_WAITS
        )
        self.log_lost = self._counter("llmos_request_log_lost_lines", "Lines of the request log that could not be written.")
        ProcessCollector(registry=self.registry)

    def _of_http(self) -> None:
        self.requests = self._counter("llmos_http_requests", "Requests answered.", ("route", "method", "status"))
        self.seconds = self._histogram("llmos_http_request_seconds", "Time from request to last byte.", ("route",))
        self.refusals = self._counter("llmos_refusals", "Requests answered with an error, by its code.", ("reason", "status"))
        self.queue = self._histogram("llmos_queue_seconds", "Wait for a place at the engines.", ("priority",))

    def _of_models(self) -> None:
        model = ("model",)
        self.first_token = self._histogram("llmos_time_to_first_token_seconds", "Request to first text of a stream.", model)
        self.gaps = self._histogram("llmos_inter_token_seconds", "Time a token between texts of a stream.", model, buckets=_GAPS)
        self.load = self._histogram("llmos_model_wait_seconds", "Finding a model, and loading it when it was not loaded.", model)
        self.prompt_tokens = self._counter("llmos_prompt_tokens", "Tokens read.", model)
        self.cached_tokens = self._counter("llmos_cached_prompt_tokens", "Of those, not computed again.", model)
        self.output_tokens = self._counter("llmos_output_tokens", "Tokens written.", model)

    def _counter(self, name: str, about: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(name, about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, labels: tuple[str, ...], *, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
        return Histogram(name, about, labels, buckets=buckets, registry=self.registry)

    # -- what ends -----------------------------------------------------------------------------------------------------
    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """A request is over. seconds: from its first byte to the last of its answer."""
        route = getattr(scope.get("route"), "path", "(none)")
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        self.requests.labels(route, method, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def tracked(self, track: Track, status: int, *, arrived: float) -> None:
        """The same request, as far as it got to a model. arrived: perf_counter of its first byte."""
        if track.error:
            self.refusals.labels(self._codes.label(track.error), str(status)).inc()
        waited_s = track.seconds("queue")
        if waited_s is not None:
            self.queue.labels(track.priority if track.priority in _PRIORITIES else OTHER).observe(waited_s)
        if not track.model:
            return
        model = self.models.label(track.model)
        if track.first_at is not None:
            self.first_token.labels(model).observe(track.first_at - arrived)
        if (load_s := track.seconds("load")) is not None:
            self.load.labels(model).observe(load_s)
        self.used(track.model, track.usage)

    def used(self, model: str, usage: Usage) -> None:
        """Counts the tokens of work that is over."""
        model = self.models.label(model)
        self.prompt_tokens.labels(model).inc(usage.prompt_tokens)
        self.cached_tokens.labels(model).inc(usage.cached_tokens)
        self.output_tokens.labels(model).inc(usage.completion_tokens)

    def gap(self, model: str) -> Callable[[float], None]:
        """To be called with each time between two tokens of a stream; bound once, so that it is cheap."""
        return self.gaps.labels(self.models.label(model)).observe

    def job_waited(self, kind: str, seconds: float) -> None:
        self.job_wait.labels(self.kind(kind)).observe(seconds)

    def kind(self, kind: str) -> str:
        return self._kinds.label(kind)

    def text(self) -> bytes:
        """The exposition. It asks the database and the pool: not on an event loop."""
        return generate_latest(self.registry)
