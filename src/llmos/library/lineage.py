"""Lineage: which artefact was made of which, kept as edges and asked both ways.

    dataset:mails@3f… ──made of──> file:mails.jsonl@9c…        dataset:clean@77… ──made of──> dataset:mails@3f…

An artefact is named `<kind>:<name>@<hash>`; the kinds are those of the layers that write edges. An edge is never changed; it goes with the
artefact it leads from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from llmos.infra.database import Database
from llmos.infra.tables import lineage
from llmos.library.cards import now


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """child was made of parent. relation: how ("source", "recipe", "model", …). detail: what else is worth knowing, one line."""

    child: str
    parent: str
    relation: str
    detail: str = ""


class Lineage:
    """The edges of one database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def parents(self, child: str) -> list[Edge]:
        with self.database.begin(read_only=True) as connection:
            return self.read(connection, child=child)

    def children(self, parent: str) -> list[Edge]:
        with self.database.begin(read_only=True) as connection:
            return self.read(connection, parent=parent)

    def ancestors(self, child: str) -> list[Edge]:
        """All edges upward, nearest first; each artefact is looked at once."""
        found, waiting, seen = [], [child], {child}
        while waiting:
            for edge in self.parents(waiting.pop(0)):
                found.append(edge)
                if edge.parent not in seen:
                    seen.add(edge.parent)
                    waiting.append(edge.parent)
        return found

    @staticmethod
    def write(connection: Connection, edges: Sequence[Edge]) -> None:
        """Within the transaction that makes the child known. Edges that are there stay as they are."""
        for edge in edges:
            key = (lineage.c.child == edge.child) & (lineage.c.parent == edge.parent) & (lineage.c.relation == edge.relation)
            if connection.execute(select(lineage.c.child).where(key)).first() is None:
                row = {"child": edge.child, "parent": edge.parent, "relation": edge.relation, "detail": edge.detail, "at": now()}
                connection.execute(insert(lineage).values(row))

    @staticmethod
    def read(connection: Connection, *, child: str | None = None, parent: str | None = None) -> list[Edge]:
        query = select(lineage).order_by(lineage.c.child, lineage.c.parent, lineage.c.relation)
        query = query.where(lineage.c.child == child) if child is not None else query
        query = query.where(lineage.c.parent == parent) if parent is not None else query
        return [
            Edge(child=row.child, parent=row.parent, relation=row.relation, detail=row.detail) for row in connection.execute(query)
        ]

    @staticmethod
    def forget(connection: Connection, child: str) -> None:
        connection.execute(delete(lineage).where(lineage.c.child == child))
