"""API keys as rows: made, listed, rotated, revoked. The key itself is seen once, by who made it; a row has its digest only.

active -> expired    its time is over; of a key that was rotated, the grace that was given
       -> revoked    at once here, within a second in other servers on the same database (ring.py)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa

from llmos.access.base import DEFAULT_PROJECT, Quotas, Scope
from llmos.access.keytext import new_id, new_key
from llmos.access.projects import checked_project, ensure_project, shown_text, utc_after
from llmos.access.secret import Secret
from llmos.errors import Conflict, InvalidValue, NotFound, did_you_mean
from llmos.infra.database import Database
from llmos.infra.tables import api_keys

PRIORITIES = ("interactive", "normal", "batch")
GRACE_S = 24 * 3600.0
MAX_S = 10 * 365 * 24 * 3600.0
KeyState = Literal["active", "expired", "revoked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One row, without the digest. Times are UTC in ISO 8601; last_used_at is right to a minute. replaces: the id of the key that
    was rotated into this one."""

    id: str
    name: str
    project: str
    scopes: tuple[Scope, ...]
    priority: str
    quotas: Quotas
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    replaces: str | None
    last_used_at: str | None

    @property
    def state(self) -> KeyState:
        if self.revoked_at is not None:
            return "revoked"
        over = self.expires_at is not None and datetime.fromisoformat(self.expires_at) <= datetime.now(UTC)
        return "expired" if over else "active"


class Keys:
    """Every method is one transaction."""

    def __init__(self, database: Database, secret: Secret) -> None:
        self.database = database
        self._secret = secret

    def digest(self, key: str) -> str:
        return self._secret.digest("api-key", key)

    def create(
        self,
        name: str,
        *,
        project: str = DEFAULT_PROJECT,
        scopes: Sequence[Scope | str] = (Scope.INFERENCE,),
        priority: str = "interactive",
        quotas: Quotas | None = None,
        expires_in_s: float | None = None,
    ) -> tuple[Key, str]:
        """The row, and the key, which nothing can show again. The project is made when it is new. Raises InvalidValue."""
        key = Key(
            id=new_id(),
            name=shown_text(name, "name", 128),
            project=checked_project(project),
            scopes=_checked_scopes(scopes),
            priority=_checked_priority(priority),
            quotas=_checked_quotas(quotas or Quotas()),
            created_at=utc_after(),
            expires_at=None if expires_in_s is None else utc_after(_checked_s("expires_in_s", expires_in_s)),
            revoked_at=None,
            replaces=None,
            last_used_at=None,
        )
        with self.database.begin() as connection:
            return key, self._add(connection, key)

    def rows(self, *, project: str | None = None) -> list[tuple[Key, str]]:
        """Keys with their digests, the newest first."""
        wanted = sa.select(api_keys).order_by(api_keys.c.created_at.desc(), api_keys.c.id)
        if project is not None:
            wanted = wanted.where(api_keys.c.project == project)
        with self.database.begin(read_only=True) as connection:
            return [(_key(row), row.digest) for row in connection.execute(wanted)]

    def list(self, *, project: str | None = None) -> list[Key]:
        """The newest first, also those that are over."""
        return [key for key, _ in self.rows(project=project)]

    def get(self, ref: str) -> Key:
        """By id, or by a name that one key has alone; of several with the name, the one that is active and not rotated. Raises
        NotFound, and Conflict with their ids when the name does not say which."""
        keys = self.list()
        named = [key for key in keys if ref in (key.id, key.name)]
        if not named:
            raise NotFound(f"There is no key {ref!r}.", param="key", hint=did_you_mean(ref, [key.name for key in keys]))
        rotated = {key.replaces for key in keys}
        found = named if len(named) == 1 else [key for key in named if key.state == "active" and key.id not in rotated]
        if len(found) != 1:
            raise Conflict(f"{len(named)} keys are called {ref!r}: {', '.join(key.id for key in named)}.", param="key")
        return found[0]

    def revoke(self, ref: str) -> Key:
        """The key is no longer valid, and never again. Twice is once."""
        key = self.get(ref)
        if key.revoked_at is None:
            key = replace(key, revoked_at=utc_after())
            with self.database.begin() as connection:
                connection.execute(sa.update(api_keys).where(api_keys.c.id == key.id).values(revoked_at=key.revoked_at))
        return key

    def rotate(self, ref: str, *, grace_s: float = GRACE_S) -> tuple[Key, str]:
        """A new key with the rights, quotas, what is used of them, and life time of the old one, which stays valid for `grace_s`
        more seconds at most. Raises Conflict when the old one is over, or was rotated already."""
        old, now = self.get(ref), datetime.now(UTC)
        if old.state != "active":
            raise Conflict(f"The key {old.id} is {old.state}.", param="key", hint="Make a new one: llmos keys create NAME")
        given = datetime.fromisoformat(old.expires_at) - datetime.fromisoformat(old.created_at) if old.expires_at else None
        new = replace(
            old,
            id=new_id(),
            created_at=utc_after(),
            expires_at=(now + given).isoformat(timespec="microseconds") if given else None,
            replaces=old.id,
            last_used_at=None,
        )
        last = now + timedelta(seconds=_checked_s("grace_s", grace_s, least=0.0))
        if old.expires_at:
            last = min(last, datetime.fromisoformat(old.expires_at))
        with self.database.begin() as connection:
            if connection.execute(sa.select(api_keys.c.id).where(api_keys.c.replaces == old.id)).first():
                raise Conflict(f"The key {old.id} was rotated already.", param="key", hint="Rotate the one that replaced it.")
            shorter = sa.update(api_keys).where(api_keys.c.id == old.id)
            connection.execute(shorter.values(expires_at=last.isoformat(timespec="microseconds")))
            return new, self._add(connection, new)

    def touch(self, used: dict[str, str]) -> None:
        """Notes when keys were used last, by id."""
        if used:
            with self.database.begin(durable=False) as connection:
                for key_id, at in used.items():
                    connection.execute(sa.update(api_keys).where(api_keys.c.id == key_id).values(last_used_at=at))

    def _add(self, connection: sa.Connection, key: Key) -> str:
        text = new_key()
        ensure_project(connection, key.project)
        row = {name: getattr(key, name) for name in Key.__slots__}
        row["scopes"] = json.dumps([scope.value for scope in key.scopes])
        row["quotas"] = json.dumps({name: value for name, value in asdict(key.quotas).items() if value is not None})
        connection.execute(sa.insert(api_keys).values(digest=self.digest(text), **row))
        return text


def _key(row: Any) -> Key:
    kept = {name: getattr(row, name) for name in Key.__slots__}
    kept["scopes"] = tuple(Scope(scope) for scope in json.loads(row.scopes))
    kept["quotas"] = Quotas(**json.loads(row.quotas))
    return Key(**kept)


def _checked_scopes(scopes: Sequence[Scope | str]) -> tuple[Scope, ...]:
    known = [scope.value for scope in Scope]
    if not scopes:
        raise InvalidValue("A key without a scope opens nothing.", param="scopes", hint=f"Scopes: {', '.join(known)}.")
    for scope in scopes:
        if scope not in known:
            raise InvalidValue(f"There is no scope {scope!r}.", param="scopes", hint=did_you_mean(scope, known))
    return tuple(scope for scope in Scope if scope in scopes)


def _checked_priority(priority: str) -> str:
    if priority not in PRIORITIES:
        raise InvalidValue(f"The priority {priority!r} is not known.", param="priority", hint=f"One of {', '.join(PRIORITIES)}.")
    return priority


def _checked_quotas(quotas: Quotas) -> Quotas:
    for name, value in asdict(quotas).items():
        if value is not None and not 0 <= value < 2**62:
            raise InvalidValue(f"{name} is {value}; a number of 0 or more is wanted.", param=f"quotas.{name}")
    return quotas


def _checked_s(name: str, seconds: float, *, least: float = 1.0) -> float:
    if not least <= seconds <= MAX_S:
        raise InvalidValue(f"{name} is {seconds:g}; {least:g} to {MAX_S:g} seconds are possible.", param=name)
    return seconds
