"""The one database: SQLite in LLMOS_HOME, or PostgreSQL by LLMOS_DATABASE_URL. Same tables, same promises.

A transaction that ended without an error is on disk (SQLite: WAL with synchronous=FULL), unless it was begun with durable=False:
then the system has it, and it outlives the process but not a power cut. Transactions begin by taking the write lock, so two
writers wait for each other instead of failing half-way. Opening migrates, under a lock, in one transaction: a kill leaves the
old schema or the new one.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import QueuePool

from llmos.errors import Conflict, InvalidValue, LLMOSError, MissingExtra, OverCapacity, StorageError
from llmos.infra.files import make_dir
from llmos.infra.tables import REVISION
from llmos.settings import Settings

BUSY_TIMEOUT_S = 30
_LOCK_KEY = 0x6C6C6D6F73  # "llmos", for PostgreSQL's advisory lock
_MIGRATIONS = Path(__file__).parent / "migrations"
_PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)


class Database:
    """Thread-safe. url: sqlite:///path or postgresql://…; close when done."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._watcher: sqlite3.Connection | None = None
        self._watching = threading.Lock()

    @contextmanager
    def begin(self, *, read_only: bool = False, durable: bool = True) -> Iterator[Connection]:
        """A connection in a transaction: committed at the end, rolled back on an error.

        read_only=True takes no write lock and refuses to write. durable=False: for counts, for which nobody shall wait for a disk.
        Raises StorageError (disk full, damaged or unreachable database) and OverCapacity (locked for longer than 30 s);
        IntegrityError of SQLAlchemy passes.
        """
        try:
            options = {"llmos_read_only": read_only, "llmos_durable": durable}
            with self.engine.execution_options(**options).begin() as connection:
                yield connection
        except DBAPIError as problem:
            told = self._told(problem)
            if told is None:
                raise
            raise told from problem

    def version(self) -> int | None:
        """A number that is another one after anything was committed, by whatever process; None where it cannot be had for less
        than a query (PostgreSQL). What was read under a version is true as long as it stays (SQLite: PRAGMA data_version)."""
        if self.engine.dialect.name != "sqlite" or not self.engine.url.database:
            return None
        with self._watching:
            try:
                if self._watcher is None:
                    self._watcher = sqlite3.connect(self.engine.url.database, check_same_thread=False)  # it never writes itself
                return int(self._watcher.execute("PRAGMA data_version").fetchone()[0])
            except sqlite3.Error:
                return None  # the query that follows says what is wrong

    def migrate(self) -> None:
        """Brings the schema to this program's revision. Raises Conflict when the database is newer than the program."""
        with self.begin(read_only=True) as connection:
            if _revision(connection) == REVISION:
                return
        with self.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            self._upgrade(connection)

    def close(self) -> None:
        with self._watching:
            if self._watcher is not None:
                self._watcher.close()
                self._watcher = None
        self.engine.dispose()

    def _upgrade(self, connection: Connection) -> None:
        from alembic import command
        from alembic.script import ScriptDirectory

        config = alembic_config(connection)
        found = _revision(connection)
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if found is not None and found not in known:
            raise Conflict(
                f"The database is at revision {found}, this program knows up to {REVISION}.",
                hint="It was used by a newer LLMOS: update this one (pip install -U llmos), or set another LLMOS_HOME.",
            )
        command.upgrade(config, "head")

    def _told(self, problem: DBAPIError) -> LLMOSError | None:
        """Our error for what goes wrong outside of SQL, None for SQL's own errors."""
        text = str(problem.orig).splitlines()[0] if str(problem.orig) else type(problem.orig).__name__
        if "locked" in text or "lock timeout" in text:
            return OverCapacity(f"The database was locked for more than {BUSY_TIMEOUT_S} s.", retry_after_s=5)
        if "readonly" in text or "read-only" in text or "not a database" in text or "malformed" in text:
            return StorageError(
                f"The database {self._place} cannot be used: {text}.", hint="Set another LLMOS_HOME, or restore it."
            )
        if isinstance(problem, OperationalError) and "no such" not in text and "syntax" not in text:
            return StorageError(f"The database {self._place} failed: {text}.", hint="Is its disk full, or its server down?")
        return None

    @property
    def _place(self) -> str:
        return self.engine.url.render_as_string(hide_password=True)


def open_database(settings: Settings) -> Database:
    """The database that the settings name, migrated. Raises InvalidValue, MissingExtra, Conflict, StorageError."""
    database = Database(settings.database_url or f"sqlite:///{make_dir(settings.home) / 'db.sqlite3'}")
    try:
        database.migrate()
    except BaseException:
        database.close()
        raise
    return database


def alembic_config(connection: Connection) -> Any:
    """Alembic's configuration without an ini file, bound to an open transaction."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _revision(connection: Connection) -> str | None:
    """The revision the database is at, None for an empty one."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _engine(url: str) -> Engine:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise InvalidValue("LLMOS_DATABASE_URL is not a database URL.", param="LLMOS_DATABASE_URL", hint=_URL_HINT) from None
    if parsed.drivername == "sqlite":
        engine = sa.create_engine(parsed, poolclass=QueuePool, max_overflow=-1)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        try:
            engine = sa.create_engine(parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
        except ModuleNotFoundError:
            raise MissingExtra("postgres", needed_for="A PostgreSQL database") from None
        event.listen(engine, "begin", _begin_postgresql)
        return engine
    raise InvalidValue(f"LLMOS_DATABASE_URL names {parsed.drivername!r}.", param="LLMOS_DATABASE_URL", hint=_URL_HINT)


_URL_HINT = "sqlite:////path/file and postgresql://user:password@host/name work."


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver begins no transactions; _begin_sqlite does
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _begin_sqlite(connection: Connection) -> None:
    read_only = bool(connection.get_execution_options().get("llmos_read_only"))
    connection.exec_driver_sql(f"PRAGMA query_only = {int(read_only)}")
    if not read_only:
        durable = connection.get_execution_options().get("llmos_durable", True)
        connection.exec_driver_sql(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get("llmos_read_only"):
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    elif not connection.get_execution_options().get("llmos_durable", True):
        connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{BUSY_TIMEOUT_S}s'")
