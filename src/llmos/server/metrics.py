"""Figures of one server for Prometheus, named with their units. Labels are bounded: routes are templates, models at most 64."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import Scope

from llmos.types import Usage

MAX_MODELS = 64
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """One registry an app, so that two apps in one process do not share counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        route = ("route", "method", "status")
        self.requests = Counter("llmos_http_requests", "Requests answered.", route, registry=self.registry)
        self.seconds = Histogram(
            "llmos_http_request_seconds", "Time from request to last byte.", ("route",), buckets=_SECONDS, registry=self.registry
        )
        self.first_token = Histogram(
            "llmos_time_to_first_token_seconds", "Submit to first text.", ("model",), buckets=_SECONDS, registry=self.registry
        )
        self.prompt_tokens = Counter("llmos_prompt_tokens", "Tokens read.", ("model",), registry=self.registry)
        self.cached_tokens = Counter(
            "llmos_cached_prompt_tokens", "Of those, not computed again.", ("model",), registry=self.registry
        )
        self.output_tokens = Counter("llmos_output_tokens", "Tokens written.", ("model",), registry=self.registry)
        self.running = Gauge("llmos_requests_running", "Requests at an engine.", registry=self.registry)
        self.waiting = Gauge("llmos_requests_waiting", "Requests in the queue.", registry=self.registry)
        self.loaded = Gauge("llmos_models_loaded", "Models in memory.", registry=self.registry)
        self.memory = Gauge("llmos_models_memory_bytes", "Memory of the loaded models.", registry=self.registry)
        self._models: set[str] = set()

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "(none)")
        method = scope["method"] if scope["method"] in ("GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS") else "OTHER"
        self.requests.labels(route, method, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def first(self, model: str, seconds: float) -> None:
        self.first_token.labels(self._label(model)).observe(seconds)

    def used(self, model: str, usage: Usage) -> None:
        """Counts the tokens of a request that is over."""
        model = self._label(model)
        self.prompt_tokens.labels(model).inc(usage.prompt_tokens)
        self.cached_tokens.labels(model).inc(usage.cached_tokens)
        self.output_tokens.labels(model).inc(usage.completion_tokens)

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def _label(self, model: str) -> str:
        if model not in self._models and len(self._models) >= MAX_MODELS:
            return "other"
        self._models.add(model)
        return model
