"""The measured tables of this machine, kept in the database (table engine_choices).

A table is found by model version, machine and engine versions: any of them new means measuring again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import sqlalchemy as sa

from llmos.engine.choice import Candidate, Measurement
from llmos.infra.database import Database
from llmos.infra.tables import engine_choices
from llmos.library.base import ModelCard


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One probe: every candidate with its figures or the reason why it has none; skipped: those that were not tried, and why.
    tolerance: what "agrees" means, in words. at: when, in UTC."""

    measurements: tuple[Measurement, ...] = ()
    skipped: dict[str, str] = {}
    reference: str = ""
    tolerance: str = ""
    at: str = ""


def key(card: ModelCard, candidates: Sequence[Candidate], *, machine: str, num_threads: int) -> str:
    """Which table answers for this card here and now."""
    engines = ",".join(sorted(f"{candidate.backend}={candidate.version}" for candidate in candidates))
    text = f"{card.version}|{machine}|{num_threads} threads|{engines}"
    return f"{card.version[:32]}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


class ChoiceTables:
    """Reads and writes tables. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> Table | None:
        with self._database.begin(read_only=True) as connection:
            query = sa.select(engine_choices.c.document).where(engine_choices.c.key == name)
            document = connection.execute(query).scalar()
        return None if document is None else msgspec.json.decode(document, type=Table)

    def put(self, name: str, table: Table) -> None:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        document = msgspec.json.encode(msgspec.structs.replace(table, at=at)).decode()
        with self._database.begin() as connection:
            connection.execute(engine_choices.delete().where(engine_choices.c.key == name))
            connection.execute(engine_choices.insert().values(key=name, document=document, at=at))
