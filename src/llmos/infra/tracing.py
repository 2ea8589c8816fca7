"""Traces for OpenTelemetry, on when OTEL_EXPORTER_OTLP_ENDPOINT is set and the extra `otel` is installed; else nothing at all.

    tracer = open_tracer(settings)                              None: nobody wants traces
    tracer.record(Span(name="POST /v1/chat/completions", …, children=(…,)), traceparent=headers["traceparent"])

A span is recorded when it is over, with its times: what works in several threads and processes needs no context passed through
them, and a request that nobody traces pays nothing. Sampling, headers, timeouts and the service's name are the SDK's own variables
(OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME, …). Names of attributes: the GenAI semantic conventions,
https://opentelemetry.io/docs/specs/semconv/gen-ai/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

from llmos.errors import MissingExtra
from llmos.infra.logs import get_logger
from llmos.infra.redact import redact
from llmos.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = get_logger("tracing")
Value = str | bool | int | float | list[str]
CLOSE_LIMIT_MS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Something that is over. begin_ns, end_ns: Unix time. error: its code, or ""."""

    name: str
    begin_ns: int
    end_ns: int
    kind: Literal["internal", "server"] = "internal"
    attributes: Mapping[str, Value | None] = field(default_factory=dict)  # None: left out
    error: str = ""
    children: tuple[Span, ...] = ()


class Tracer:
    """Sends spans to a collector over OTLP/HTTP, in the background. Thread-safe; a collector that is down costs spans only."""

    def __init__(self, endpoint: str) -> None:
        """endpoint: the collector's base URL, as OTEL_EXPORTER_OTLP_ENDPOINT has it."""
        self._provider = _provider(endpoint)
        self._tracer = self._provider.get_tracer("llmos", version("llmos"))

    def record(self, span: Span, *, traceparent: str | None = None) -> str:
        """Sends a span with its children, below the caller's own one when the W3C header `traceparent` names it. Returns the id
        of the trace, for the log. A header that is none is as good as no header (W3C Trace Context, 3.2.2)."""
        from opentelemetry.trace import format_trace_id
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        context = TraceContextTextMapPropagator().extract({"traceparent": traceparent}) if traceparent else None
        return format_trace_id(self._record(span, context))

    def _record(self, span: Span, context: Any) -> int:
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        kind = SpanKind.SERVER if span.kind == "server" else SpanKind.INTERNAL
        attributes = {name: _clean(value) for name, value in span.attributes.items() if value is not None}
        made = self._tracer.start_span(
            redact(span.name), context=context, kind=kind, attributes=attributes, start_time=span.begin_ns
        )
        if span.error:
            made.set_attribute("error.type", span.error)
            made.set_status(Status(StatusCode.ERROR))
        inside = set_span_in_context(made)
        for child in span.children:
            self._record(child, inside)
        made.end(end_time=span.end_ns)
        return int(made.get_span_context().trace_id)

    def flush(self) -> None:
        """Sends what waits now."""
        self._provider.force_flush(CLOSE_LIMIT_MS)

    def close(self) -> None:
        self._provider.shutdown()


def open_tracer(settings: Settings) -> Tracer | None:
    """None when no endpoint is set. Without the extra that is said once: the variable may be meant for other programs."""
    if settings.otlp_endpoint is None:
        return None
    try:
        return Tracer(settings.otlp_endpoint)
    except ModuleNotFoundError:
        log.warning("no traces: %s", MissingExtra("otel", needed_for="OTEL_EXPORTER_OTLP_ENDPOINT"))
        return None


def _provider(endpoint: str) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    own = Resource({SERVICE_NAME: "llmos", SERVICE_VERSION: version("llmos")})
    provider = TracerProvider(resource=Resource.create().merge(own).merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")))
    return provider


def _clean(value: Value) -> Value:
    """No secret leaves in a span either (P28)."""
    if isinstance(value, str):
        return redact(value)
    return [redact(item) for item in value] if isinstance(value, list) else value
