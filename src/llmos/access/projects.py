"""Projects: whom models, files, jobs and usage belong to. A project is a name; it is there from its first use on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from llmos.access.base import DEFAULT_PROJECT
from llmos.errors import InvalidValue
from llmos.infra.database import Database
from llmos.infra.redact import redact
from llmos.infra.tables import api_keys, projects

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """log_contents: whether requests and answers of this project go into the server's log. keys: how many it has had."""

    name: str
    log_contents: bool
    created_at: str
    keys: int = 0


class Projects:
    """Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def list(self) -> list[Project]:
        """By name. The default one is there before its first use."""
        keys = sa.select(api_keys.c.project, sa.func.count().label("keys")).group_by(api_keys.c.project)
        with self.database.begin(read_only=True) as connection:
            counts = {row.project: row.keys for row in connection.execute(keys)}
            found = {
                row.name: Project(
                    name=row.name, log_contents=bool(row.log_contents), created_at=row.created_at, keys=counts.get(row.name, 0)
                )
                for row in connection.execute(sa.select(projects))
            }
        found.setdefault(DEFAULT_PROJECT, Project(name=DEFAULT_PROJECT, log_contents=False, created_at=""))
        return [found[name] for name in sorted(found)]

    def log_contents(self, name: str, on: bool) -> Project:
        """Switches the log of contents for a project, which is made when it is new. Raises InvalidValue for a bad name."""
        with self.database.begin() as connection:
            ensure_project(connection, checked_project(name))
            connection.execute(sa.update(projects).where(projects.c.name == name).values(log_contents=int(on)))
        return next(project for project in self.list() if project.name == name)


def ensure_project(connection: sa.Connection, name: str) -> None:
    """Its row, in the caller's transaction."""
    if connection.execute(sa.select(projects.c.name).where(projects.c.name == name)).first() is None:
        try:
            with connection.begin_nested():
                connection.execute(sa.insert(projects).values(name=name, log_contents=0, created_at=utc_after()))
        except IntegrityError:  # another server made it at the same moment
            return


def checked_project(name: str) -> str:
    if not _NAME.fullmatch(name):
        hint = "Small letters, digits, '.', '_' and '-', beginning with a letter or digit, 64 at most."
        raise InvalidValue(f"{name!r} is no name of a project.", param="project", hint=hint)
    return name


def shown_text(text: str, param: str, max_chars: int) -> str:
    """A text that is shown to people later: without line ends, terminal escapes and marks that turn its direction."""
    if not text.strip() or len(text) > max_chars or not text.isprintable():
        raise InvalidValue(f"{param} must be 1 to {max_chars} printable characters.", param=param)
    if redact(text) != text:
        raise InvalidValue(f"{param} looks like a secret; it is shown in lists and logs.", param=param, hint="Choose a name.")
    return text.strip()


def utc_after(seconds: float = 0.0) -> str:
    """The time in so many seconds, as rows have it: UTC in ISO 8601."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="microseconds")
