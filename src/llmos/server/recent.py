"""The last seconds of this server, for `llmos top`: tokens a second by model, and the time to the first token.

A request's tokens are taken as evenly written over its time, so a rate needs no timer and no counting while it runs:

    window          |-----------------------------|now
    a request  |--------------------|                    its share: the part of its time that lies in the window
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

RATE_WINDOW_S = 10.0
FIRST_WINDOW_S = 60.0
_MAX_SPANS = 4096  # of finished requests; more of them in one window only make the rate a lower bound


@dataclass(slots=True, eq=False)
class Span:
    """One request at a model. tokens(): written so far. end: monotonic seconds, None while it runs."""

    model: str
    tokens: Callable[[], int]
    begin: float
    end: float | None = None


def rates(spans: list[Span], now: float, window_s: float = RATE_WINDOW_S) -> dict[str, float]:
    """Tokens a second by model over the last `window_s`."""
    found: dict[str, float] = defaultdict(float)
    for span in spans:
        end = max(now if span.end is None else span.end, span.begin + 1e-6)
        lasted_s = end - span.begin
        inside_s = end - max(span.begin, now - window_s)
        if inside_s > 0:
            found[span.model] += span.tokens() * min(inside_s / lasted_s, 1.0) / window_s
    return dict(found)


class Recent:
    """Thread-safe. What is older than its window is forgotten."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[Span] = set()
        self._over: deque[Span] = deque(maxlen=_MAX_SPANS)
        self._first: deque[tuple[float, float]] = deque(maxlen=_MAX_SPANS)

    def begin(self, model: str, tokens: Callable[[], int]) -> Callable[[], None]:
        """Notes a request that begins now; the result ends it and may be called more than once."""
        span = Span(model, tokens, time.monotonic())
        with self._lock:
            self._running.add(span)

        def end() -> None:
            with self._lock:
                if span.end is None:
                    span.end = time.monotonic()
                    total = span.tokens()
                    span.tokens = lambda: total  # the request itself is not kept
                    self._running.discard(span)
                    self._over.append(span)

        return end

    def first(self, seconds: float) -> None:
        """Notes how long a stream took to its first token."""
        with self._lock:
            self._first.append((time.monotonic(), seconds))

    def rates(self) -> dict[str, float]:
        now = time.monotonic()
        with self._lock:
            while self._over and (self._over[0].end or 0.0) < now - RATE_WINDOW_S:
                self._over.popleft()
            return rates([*self._running, *self._over], now)

    def ttft_p50_s(self) -> float | None:
        """The median over the last minute; None when nothing was streamed."""
        now = time.monotonic()
        with self._lock:
            while self._first and self._first[0][0] < now - FIRST_WINDOW_S:
                self._first.popleft()
            return statistics.median(seconds for _, seconds in self._first) if self._first else None
