"""The database on SQLite and on a real PostgreSQL server: migrations, transactions, two programs at once, damage."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from llmos.errors import Conflict, InvalidValue, StorageError
from llmos.infra.database import Database, alembic_config, open_database
from llmos.infra.tables import REVISION, alias_history, aliases, engine_choices, metadata, models
from llmos.settings import Settings


def put(database: Database, key: str) -> None:
    with database.begin() as connection:
        connection.execute(engine_choices.insert().values(key=key, document="{}", at="2026-11-22T00:00:00Z"))


def keys(database: Database) -> list[str]:
    with database.begin(read_only=True) as connection:
        return list(connection.execute(sa.select(engine_choices.c.key).order_by(engine_choices.c.key)).scalars())


def test_migrations_make_what_the_metadata_says(database: Database) -> None:
    with database.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == REVISION
        assert ScriptDirectory.from_config(alembic_config(connection)).get_current_head() == REVISION


def test_migrations_go_down_and_up_again(database: Database) -> None:
    from alembic import command

    with database.begin() as connection:
        command.downgrade(alembic_config(connection), "base")
        assert sa.inspect(connection).get_table_names() == ["alembic_version"]
    database.migrate()
    put(database, "again")
    database.migrate()
    assert keys(database) == ["again"]


def test_a_migration_that_is_killed_leaves_the_old_schema(database_url: str) -> None:
    from alembic import command

    database = Database(database_url)
    with pytest.raises(RuntimeError), database.begin() as connection:
        command.upgrade(alembic_config(connection), "head")
        raise RuntimeError("killed before the commit")
    with database.begin() as connection:
        assert sa.inspect(connection).get_table_names() == []
    database.migrate()
    assert keys(database) == []
    database.close()


def test_rows_keep_text_and_order(database: Database) -> None:
    with database.begin() as connection:
        for target in ("a", "b", None):
            connection.execute(alias_history.insert().values(name="prod", target=target, actor="ü", reason="因为", at="t"))
        rows = connection.execute(sa.select(alias_history).order_by(alias_history.c.id)).all()
    assert [row.id for row in rows] == [1, 2, 3]
    assert [row.target for row in rows] == ["a", "b", None] and rows[0].reason == "因为"


def test_an_error_rolls_back(database: Database) -> None:
    with pytest.raises(RuntimeError), database.begin() as connection:
        connection.execute(engine_choices.insert().values(key="lost", document="{}", at="t"))
        raise RuntimeError
    assert keys(database) == []


def test_the_version_changes_with_every_commit_of_anybody(database: Database) -> None:
    database.migrate()
    before = database.version()
    if database.engine.dialect.name != "sqlite":
        assert before is None
        return
    put(database, "a")
    after_own = database.version()
    other = Database(str(database.engine.url))
    put(other, "b")
    other.close()
    keys(database)  # reading changes nothing
    assert len({before, after_own, database.version(), database.version()}) == 3


def test_primary_keys_hold(database: Database) -> None:
    put(database, "one")
    with pytest.raises(sa.exc.IntegrityError):
        put(database, "one")
    with database.begin() as connection:
        for version in ("v1", "v2"):
            connection.execute(models.insert().values(name="m", version=version, card="{}", created_at="t"))
    with pytest.raises(sa.exc.IntegrityError), database.begin() as connection:
        connection.execute(aliases.insert().values(name="a", target=None, updated_at="t"))


def test_read_only_refuses_to_write(database: Database) -> None:
    with pytest.raises((StorageError, sa.exc.DBAPIError), match=r"(?i)read-?only"), database.begin(read_only=True) as connection:
        connection.execute(engine_choices.insert().values(key="x", document="{}", at="t"))
    put(database, "y")
    assert keys(database) == ["y"]


def test_writers_wait_for_each_other(database: Database) -> None:
    """Each reads the count and writes the next one. Without the lock at the beginning, two would read the same or fail."""
    errors: list[BaseException] = []

    def add() -> None:
        try:
            for _ in range(5):
                with database.begin() as connection:
                    if connection.dialect.name == "postgresql":
                        connection.execute(sa.text("LOCK TABLE engine_choices"))
                    count = connection.execute(sa.select(sa.func.count()).select_from(engine_choices)).scalar()
                    connection.execute(engine_choices.insert().values(key=f"{count:03}", document="{}", at="t"))
        except BaseException as problem:
            errors.append(problem)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and keys(database) == [f"{i:03}" for i in range(20)]


def test_programs_that_start_together_migrate_once(database_url: str) -> None:
    code = "import sys; from llmos.infra.database import Database; d = Database(sys.argv[1]); d.migrate(); d.close()"
    programs = [subprocess.Popen([sys.executable, "-c", code, database_url], stderr=subprocess.PIPE) for _ in range(3)]
    assert [(program.communicate()[1], program.returncode) for program in programs] == [(b"", 0)] * 3
    database = Database(database_url)
    assert keys(database) == []
    database.close()


def test_database_of_a_newer_program(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Conflict, match="revision 9999"):
        database.migrate()


def test_missing_table_is_an_error_of_ours_not_of_the_disk(database: Database) -> None:
    with pytest.raises(sa.exc.DBAPIError), database.begin() as connection:
        connection.execute(sa.text("SELECT * FROM no_such_table"))


def test_open_database_in_home(settings: Settings) -> None:
    database = open_database(settings)
    with database.begin() as connection:
        pragma = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragma == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    put(database, "kept")
    database.close()
    again = open_database(settings)
    assert keys(again) == ["kept"]
    again.close()
    assert (settings.home / "db.sqlite3").exists()


def test_damaged_file(settings: Settings) -> None:
    settings.home.mkdir(parents=True)
    (settings.home / "db.sqlite3").write_bytes(b"this is not a database at all" * 100)
    with pytest.raises(StorageError, match="not a database"):
        open_database(settings)


def test_folder_that_cannot_hold_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    database = Database(f"sqlite:///{tmp_path / 'file' / 'db'}")
    with pytest.raises(StorageError, match="unable to open"):
        database.migrate()


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://x/y", "sqlite+aiosqlite:///x"])
def test_bad_urls(url: str) -> None:
    with pytest.raises(InvalidValue, match="LLMOS_DATABASE_URL"):
        Database(url)


def test_server_that_is_not_there() -> None:
    database = Database("postgresql://someone:hunter2@/x?host=/nowhere")
    with pytest.raises(StorageError) as caught:
        database.migrate()
    assert "hunter2" not in str(caught.value)
    database.close()
