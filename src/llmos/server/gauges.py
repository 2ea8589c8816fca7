"""What a server holds at the moment it is scraped: queue, memory, engines, jobs. Read then, so that nothing is kept up to date for
nobody, and what is gone is gone from the answer too.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psutil
import sqlalchemy as sa
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from llmos.errors import LLMOSError
from llmos.infra.database import Database
from llmos.infra.tables import jobs
from llmos.server.metrics import Metrics

if TYPE_CHECKING:
    from llmos.server.state import State

OVERLAP = timedelta(seconds=10)  # a start may be committed that much after the time written in it
FINAL = ("succeeded", "failed", "cancelled")
BATCH = "batch"


class Gauges(Collector):
    """Registered with the metrics of the app whose state it reads."""

    def __init__(self, state: State, metrics: Metrics) -> None:
        self.state, self.metrics = state, metrics
        self._waits = JobWaits()

    def collect(self) -> Iterator[Metric]:
        yield from self._requests()
        yield from self._models()
        yield _threads()
        yield from self._jobs(self.state.database)

    def _requests(self) -> Iterator[Metric]:
        admission = self.state.admission
        yield _gauge("llmos_requests_running", "Requests at an engine.", admission.running)
        yield _gauge("llmos_requests_waiting", "Requests in the queue.", admission.waiting)
        by_class = GaugeMetricFamily("llmos_queue_length", "Requests in the queue, by priority class.", labels=["priority"])
        for priority, number in admission.waiting_by_class().items():
            by_class.add_metric([priority], number)
        yield by_class

    def _models(self) -> Iterator[Metric]:
        pool, names = self.state.pool, self.metrics.models
        loaded = pool.loaded()
        yield _gauge("llmos_models_loaded", "Models in memory.", len(loaded))
        yield _gauge("llmos_models_memory_bytes", "Memory of the loaded models.", sum(info.memory_bytes for info in loaded))
        yield _gauge("llmos_memory_budget_bytes", "Memory that models and jobs may hold together.", pool.budget_bytes)
        yield _gauge("llmos_memory_reserved_bytes", "Memory that they hold or may grow to.", pool.budget.used_bytes)
        by_model: Counter[tuple[str, str]] = Counter()
        for info in loaded:
            by_model[names.label(info.name), f"{info.engine}/{info.variant}"] += info.memory_bytes
        memory = GaugeMetricFamily("llmos_model_memory_bytes", "Memory of one loaded model.", labels=["model", "engine"])
        for (model, engine), size_bytes in by_model.items():
            memory.add_metric([model, engine], size_bytes)
        yield memory
        restarts = CounterMetricFamily("llmos_engine_restarts", "Engine processes that died and came back.", labels=["model"])
        by_name: Counter[str] = Counter()
        for name, number in pool.restarts().items():
            by_name[names.label(name)] += number
        for name, number in by_name.items():
            restarts.add_metric([name], number)
        yield restarts
        yield self._hit_ratio()

    def _hit_ratio(self) -> Metric:
        """Since the start. Over a window: rate(llmos_cached_prompt_tokens_total) / rate(llmos_prompt_tokens_total)."""
        ratio = GaugeMetricFamily(
            "llmos_prompt_cache_hit_ratio", "Share of the prompt tokens not computed again.", labels=["model"]
        )
        read = _by_model(self.metrics.prompt_tokens)
        for model, cached in _by_model(self.metrics.cached_tokens).items():
            if read.get(model):
                ratio.add_metric([model], cached / read[model])
        return ratio

    def _jobs(self, database: Database) -> Iterator[Metric]:
        """Of the whole database: servers that share one say the same."""
        number = GaugeMetricFamily("llmos_jobs", "Jobs in the database.", labels=["kind", "state"])
        items = GaugeMetricFamily("llmos_batch_items", "Items of the batches that are not over.", labels=["state"])
        up = 1
        try:
            with database.begin(read_only=True) as connection:
                counted = connection.execute(
                    sa.select(jobs.c.kind, jobs.c.state, sa.func.count()).group_by(jobs.c.kind, jobs.c.state)
                ).all()
                running = connection.execute(
                    sa.select(jobs.c.progress).where(jobs.c.kind == BATCH, jobs.c.state.not_in(FINAL))
                ).scalars()
                done, total = _items(running)
                for kind, seconds in self._waits.news(connection):
                    self.metrics.job_waited(kind, seconds)
            by_kind: Counter[tuple[str, str]] = Counter()
            for kind, state, how_many in counted:
                by_kind[self.metrics.kind(kind), state] += how_many
            for (kind, state), how_many in by_kind.items():
                number.add_metric([kind, state], how_many)
            items.add_metric(["done"], done)
            items.add_metric(["left"], max(0.0, total - done))
            yield number
            yield items
        except LLMOSError:
            up = 0
        yield _gauge("llmos_database_up", "1: the database answered this scrape.", up)


class JobWaits:
    """Jobs that started for the first time since the last look, and how long each had waited in the queue."""

    def __init__(self) -> None:
        self._since = datetime.now(UTC)
        self._seen: dict[str, datetime] = {}  # started at `_since` or later
        self._lock = threading.Lock()

    def news(self, connection: sa.Connection) -> list[tuple[str, float]]:
        with self._lock:
            columns = (jobs.c.id, jobs.c.kind, jobs.c.created_at, jobs.c.started_at)
            rows = connection.execute(
                sa.select(*columns).where(jobs.c.started_at >= self._since.isoformat(timespec="milliseconds"))
            ).all()
            new = [(row, datetime.fromisoformat(row.started_at)) for row in rows if row.id not in self._seen]
            self._seen |= {row.id: at for row, at in new}
            self._since = max([self._since, *(at - OVERLAP for _, at in new)])
            self._seen = {name: at for name, at in self._seen.items() if at >= self._since}
            return [(row.kind, max(0.0, (at - datetime.fromisoformat(row.created_at)).total_seconds())) for row, at in new]


def _items(progress: sa.ScalarResult[str]) -> tuple[float, float]:
    done = total = 0.0
    for text in progress:
        one = json.loads(text)
        done += one.get("done") or 0
        total += one.get("total") or one.get("done") or 0
    return done, total


def _by_model(counter: object) -> dict[str, float]:
    from prometheus_client import Counter as Counted

    assert isinstance(counter, Counted)
    return {
        sample.labels["model"]: sample.value
        for family in counter.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(name, about, value=value)


def _threads() -> Metric:
    return _gauge("process_threads", "Threads of the server process.", psutil.Process().num_threads())
