"""Where the commands of keys, projects and audit do their work: this machine's database, or a server. Both answer as the routes do.

    with opened(url) as desk: desk.keys()

Who has the home has all rights in it, so nothing here asks for a key; against a server LLMOS_API_KEY is sent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from llmos.access.base import Quotas
from llmos.access.keys import Key
from llmos.access.service import Access, record_local
from llmos.cli.output import say
from llmos.infra.database import Database, open_database
from llmos.settings import Settings, current

Plain = dict[str, Any]


class Desk(ABC):
    """Answers are those of the routes under /api/v1 of the same name."""

    @abstractmethod
    def keys(self, project: str | None) -> list[Plain]: ...

    @abstractmethod
    def create(self, fields: Plain) -> Plain: ...

    @abstractmethod
    def show(self, key: str) -> Plain: ...

    @abstractmethod
    def revoke(self, key: str) -> Plain: ...

    @abstractmethod
    def rotate(self, key: str, grace_s: float) -> Plain: ...

    @abstractmethod
    def usage(self, wanted: Plain) -> list[Plain]: ...

    @abstractmethod
    def projects(self) -> list[Plain]: ...

    @abstractmethod
    def set_project(self, name: str, log_contents: bool) -> Plain: ...

    @abstractmethod
    def audit(self, wanted: Plain) -> list[Plain]: ...

    @abstractmethod
    def verify(self) -> Plain: ...


class LocalDesk(Desk):
    """Every change is in the audit log under the name of this machine's user."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database
        self._access = Access(settings, database)

    def keys(self, project: str | None) -> list[Plain]:
        return [_plain_key(key) for key in self._access.keys.list(project=project)]

    def create(self, fields: Plain) -> Plain:
        key, text = self._access.keys.create(**fields | {"quotas": Quotas(**fields["quotas"])})
        self._record("keys.create", key.id)
        return _plain_key(key) | {"key": text}

    def show(self, key: str) -> Plain:
        return _plain_key(self._access.keys.get(key))

    def revoke(self, key: str) -> Plain:
        found = self._access.keys.revoke(key)
        self._record("keys.revoke", found.id)
        return _plain_key(found)

    def rotate(self, key: str, grace_s: float) -> Plain:
        new, text = self._access.keys.rotate(key, grace_s=grace_s)
        self._record("keys.rotate", f"{new.replaces} -> {new.id}")
        return _plain_key(new) | {"key": text}

    def usage(self, wanted: Plain) -> list[Plain]:
        given = dict(wanted)
        key = given.pop("key", None)
        ids = self._access.account(key) if key else None
        return _plain_list(self._access.usage.report(key_ids=ids, **given))

    def projects(self) -> list[Plain]:
        return _plain_list(self._access.projects.list())

    def set_project(self, name: str, log_contents: bool) -> Plain:
        found: Plain = msgspec.to_builtins(self._access.projects.log_contents(name, log_contents))
        self._record("projects.set", name)
        return found

    def audit(self, wanted: Plain) -> list[Plain]:
        return _plain_list(self._access.audit.list(**wanted))

    def verify(self) -> Plain:
        found: Plain = msgspec.to_builtins(self._access.audit.verify())
        return found

    def _record(self, action: str, target: str) -> None:
        record_local(self._settings, self._database, action, target)


class ServerDesk(Desk):
    """`call(method, path, body)` gives the answer's JSON and raises the server's error."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def keys(self, project: str | None) -> list[Plain]:
        return list(self._call("GET", _path("/api/v1/keys", {"project": project}))["keys"])

    def create(self, fields: Plain) -> Plain:
        return dict(self._call("POST", "/api/v1/keys", fields))

    def show(self, key: str) -> Plain:
        return dict(self._call("GET", f"/api/v1/keys/{key}"))

    def revoke(self, key: str) -> Plain:
        return dict(self._call("POST", f"/api/v1/keys/{key}/revoke"))

    def rotate(self, key: str, grace_s: float) -> Plain:
        return dict(self._call("POST", f"/api/v1/keys/{key}/rotate", {"grace_s": grace_s}))

    def usage(self, wanted: Plain) -> list[Plain]:
        return list(self._call("GET", _path("/api/v1/usage", wanted))["usage"])

    def projects(self) -> list[Plain]:
        return list(self._call("GET", "/api/v1/projects")["projects"])

    def set_project(self, name: str, log_contents: bool) -> Plain:
        return dict(self._call("PUT", f"/api/v1/projects/{name}", {"log_contents": log_contents}))

    def audit(self, wanted: Plain) -> list[Plain]:
        return list(self._call("GET", _path("/api/v1/audit", wanted))["rows"])

    def verify(self) -> Plain:
        return dict(self._call("GET", "/api/v1/audit/verify"))


@contextmanager
def opened(url: str | None) -> Iterator[Desk]:
    """The desk of a server, or of this machine."""
    settings = current()
    if url is not None:
        from llmos.sdk.http import HTTPTransport

        transport = HTTPTransport(url, settings.api_key, settings, say)
        try:
            yield ServerDesk(transport._call)
        finally:
            transport.close()
        return
    database = open_database(settings)
    try:
        yield LocalDesk(settings, database)
    finally:
        database.close()


def _plain_key(key: Key) -> Plain:
    found: Plain = msgspec.to_builtins(key)
    return found | {"state": key.state}


def _plain_list(rows: Any) -> list[Plain]:
    found: list[Plain] = msgspec.to_builtins(rows)
    return found


def _path(path: str, query: Plain) -> str:
    from urllib.parse import urlencode

    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path
