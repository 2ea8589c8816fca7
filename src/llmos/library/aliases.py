"""Aliases: names that a person or a promotion moves, each move kept with who, when and why, and undone by rollback."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from llmos.errors import Conflict, InvalidValue, NotFound, did_you_mean
from llmos.infra.database import Database
from llmos.infra.redact import redact
from llmos.infra.tables import alias_history, aliases
from llmos.library.cards import now

ROLLBACK = "(rollback)"


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasMove:
    """One line of an alias's history. target None: it was removed."""

    name: str
    target: str | None
    actor: str
    reason: str
    at: str


class Aliases:
    """Rows of the database; the newest history row of a name always says what its row in `aliases` says."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def target(self, name: str) -> str | None:
        with self.database.begin(read_only=True) as connection:
            found: str | None = connection.execute(select(aliases.c.target).where(aliases.c.name == name)).scalar_one_or_none()
            return found

    def all(self) -> dict[str, str]:
        with self.database.begin(read_only=True) as connection:
            return {row.name: row.target for row in connection.execute(select(aliases).order_by(aliases.c.name))}

    def move(self, name: str, target: str, *, actor: str, reason: str) -> None:
        """Points the name at the target, new or not."""
        if reason == ROLLBACK:
            raise InvalidValue(f"The reason {ROLLBACK!r} is kept for rollbacks.", param="reason")
        with self.database.begin() as connection:
            _write(connection, name, target, actor, reason)

    def remove(self, name: str, *, actor: str, reason: str) -> None:
        """Raises NotFound."""
        with self.database.begin() as connection:
            known = list(connection.execute(select(aliases.c.name)).scalars())
            if name not in known:
                raise NotFound(f"There is no alias {name!r}.", param="alias", hint=did_you_mean(name, known))
            _write(connection, name, None, actor, reason)

    def history(self, name: str) -> list[AliasMove]:
        """Newest first. Raises NotFound when the name was never an alias."""
        with self.database.begin(read_only=True) as connection:
            moves = _moves(connection, name)
        if not moves:
            raise NotFound(f"{name!r} was never an alias.", param="alias", hint=did_you_mean(name, list(self.all())))
        return moves[::-1]

    def rollback(self, name: str, *, actor: str) -> str:
        """Back to the target before the present one; once more, one further back. Returns it. Raises NotFound, Conflict."""
        with self.database.begin() as connection:
            moves = _moves(connection, name)
            if not moves:
                raise NotFound(f"{name!r} was never an alias.", param="alias")
            standing: list[str | None] = []
            for move in moves:
                if move.reason == ROLLBACK:
                    standing.pop()
                else:
                    standing.append(move.target)
            earlier = standing[-2] if len(standing) > 1 else None
            if earlier is None:
                raise Conflict(f"The alias {name!r} has no earlier target to go back to.", param="alias")
            _write(connection, name, earlier, actor, ROLLBACK)
            return earlier


def _moves(connection: Connection, name: str) -> list[AliasMove]:
    rows = connection.execute(select(alias_history).where(alias_history.c.name == name).order_by(alias_history.c.id))
    return [AliasMove(name=row.name, target=row.target, actor=row.actor, reason=row.reason, at=row.at) for row in rows]


def _write(connection: Connection, name: str, target: str | None, actor: str, reason: str) -> None:
    at = now()
    connection.execute(delete(aliases).where(aliases.c.name == name))
    if target:
        connection.execute(insert(aliases).values(name=name, target=target, updated_at=at))
    connection.execute(insert(alias_history).values(name=name, target=target, actor=actor, reason=redact(reason), at=at))
