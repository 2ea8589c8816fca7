"""What each key used of each model on each day: counted in memory, added to the rows every second and at the end. A kill loses the
last second of it; quotas (quotas.py) lose nothing."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from llmos.access.base import Caller
from llmos.infra.database import Database
from llmos.infra.tables import usage
from llmos.types import Usage

_COUNTS = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedOn:
    """One day of one key and model. key_id: "" for the local user, "env" for LLMOS_API_KEY. cached_tokens: of prompt_tokens."""

    day: str
    project: str
    key_id: str
    model: str
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class UsageBook:
    """Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counts: dict[tuple[str, str, str, str], list[int]] = defaultdict(lambda: [0] * len(_COUNTS))
        self._lock = threading.Lock()

    def add(self, caller: Caller, model: str, used: Usage) -> None:
        day = datetime.now(UTC).date().isoformat()
        more = (1, used.prompt_tokens, used.cached_tokens, used.completion_tokens)
        with self._lock:
            counts = self._counts[caller.key_id, model, day, caller.project]
            for place, count in enumerate(more):
                counts[place] += count

    def write(self) -> None:
        """Adds what was counted to the rows. What cannot be written now stays counted. Raises StorageError."""
        with self._lock:
            due = dict(self._counts)
            self._counts.clear()
        if not due:
            return
        try:
            with self._database.begin(durable=False) as connection:
                for (key_id, model, day, project), counts in due.items():
                    row = {"key_id": key_id, "model": model, "day": day, "project": project}
                    _add(connection, row, dict(zip(_COUNTS, counts, strict=True)))
        except BaseException:
            with self._lock:
                for place, counts in due.items():
                    kept = self._counts[place]
                    for index, count in enumerate(counts):
                        kept[index] += count
            raise

    def report(
        self,
        *,
        key_ids: tuple[str, ...] | None = None,
        project: str | None = None,
        first_day: str | None = None,
        last_day: str | None = None,
    ) -> list[UsedOn]:
        """By day, key and model, the newest day first. Days as 2026-11-22; None is no limit."""
        self.write()
        wanted = sa.select(usage).order_by(usage.c.day.desc(), usage.c.key_id, usage.c.model)
        if key_ids is not None:
            wanted = wanted.where(usage.c.key_id.in_(key_ids))
        if project is not None:
            wanted = wanted.where(usage.c.project == project)
        if first_day is not None:
            wanted = wanted.where(usage.c.day >= first_day)
        if last_day is not None:
            wanted = wanted.where(usage.c.day <= last_day)
        with self._database.begin(read_only=True) as connection:
            return [UsedOn(**dict(row)) for row in connection.execute(wanted).mappings()]


def _add(connection: sa.Connection, row: dict[str, str], counts: dict[str, int]) -> None:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    new: Any = insert(usage).values(**row, **counts)
    sums = {name: usage.c[name] + new.excluded[name] for name in counts}
    connection.execute(new.on_conflict_do_update(index_elements=["key_id", "model", "day"], set_=sums))
