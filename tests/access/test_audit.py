"""The audit chain: every edit, removal, forgery and cut is found; refusals do not fill the disk."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from llmos.access import refusals
from llmos.access.audit import HEAD, Audit, _hash
from llmos.access.refusals import KINDS, Refusal, Refusals
from llmos.access.secret import Secret
from llmos.access.service import record_local
from llmos.errors import StorageError
from llmos.infra.database import Database, open_database
from llmos.infra.tables import audit
from llmos.settings import Settings


@pytest.fixture
def log(database: Database, secret: Secret, tmp_path: Path) -> Audit:
    return Audit(database, secret, tmp_path / "home")


def fill(log: Audit, rows: int = 5) -> None:
    for number in range(rows):
        log.record("key_a", "shop", "jobs.submit", f"job_{number}", number=number)


def test_rows_say_who_did_what(log: Audit) -> None:
    fill(log)
    log.record("local", "default", "keys.create", "key_b", "failed")
    newest, before = log.list(limit=2)
    assert (newest.seq, newest.actor, newest.action, newest.target, newest.outcome) == (
        6,
        "local",
        "keys.create",
        "key_b",
        "failed",
    )
    assert before.details == {"number": 4}
    assert [row.seq for row in log.list(before=4, after=1)] == [3, 2]
    assert [row.seq for row in log.list(action="keys.")] == [6]
    assert [row.seq for row in log.list(actor="key_a", project="shop", limit=1)] == [5]
    assert log.verify().ok


def test_an_empty_log_is_well(log: Audit) -> None:
    assert log.verify().ok


@pytest.mark.parametrize(
    "change",
    [
        {"actor": "key_b"},
        {"at": "2020-01-01T00:00:00+00:00"},
        {"action": "nothing"},
        {"target": "job_9"},
        {"outcome": "refused"},
        {"details": '{"number":7}'},
        {"project": "lab"},
        {"hash": "f" * 64},
        {"seq": 30},
    ],
)
def test_an_edit_is_found(log: Audit, database: Database, change: dict[str, object]) -> None:
    fill(log)
    with database.begin() as connection:
        connection.execute(sa.update(audit).where(audit.c.seq == 3).values(**change))
    verdict = log.verify()
    assert not verdict.ok
    assert verdict.first_bad == 3
    assert "Row 3" in verdict.problem


@pytest.mark.parametrize(("gone", "first"), [((3,), 3), ((1,), 1), ((2, 3), 2), ((5,), 5), ((4, 5), 4), ((1, 2, 3, 4, 5), 1)])
def test_a_removal_is_found_at_the_end_too(log: Audit, database: Database, gone: tuple[int, ...], first: int) -> None:
    fill(log)
    with database.begin() as connection:
        connection.execute(sa.delete(audit).where(audit.c.seq.in_(gone)))
    verdict = log.verify()
    assert (verdict.ok, verdict.first_bad, verdict.missing) == (False, first, len(gone))


def test_a_row_put_in_is_found(log: Audit, database: Database) -> None:
    fill(log)
    row = {"at": "", "actor": "", "project": "", "action": "", "target": "", "outcome": "ok", "details": "{}", "hash": "0" * 64}
    for seq in (0, 6):
        with database.begin() as connection:
            connection.execute(sa.insert(audit).values(seq=seq, **row))
        assert not log.verify().ok
        with database.begin() as connection:
            connection.execute(sa.delete(audit).where(audit.c.seq == seq))
    assert log.verify().ok


def test_a_chain_written_anew_is_found(log: Audit, database: Database) -> None:
    """Who knows how the hashes are made still does not have the seal."""
    fill(log)
    with database.begin() as connection:
        rows = [dict(row) for row in connection.execute(sa.select(audit).order_by(audit.c.seq)).mappings()]
        before = "0" * 64
        for row in rows:
            row["target"] = "job_x" if row["seq"] == 2 else row["target"]
            row["hash"] = before = _hash(before, row["seq"], row)
            connection.execute(sa.update(audit).where(audit.c.seq == row["seq"]).values(target=row["target"], hash=row["hash"]))
    verdict = log.verify()
    assert not verdict.ok
    assert "written anew" in verdict.problem


def test_a_forged_seal_is_found(log: Audit, tmp_path: Path) -> None:
    fill(log)
    path = tmp_path / "home" / HEAD
    sealed = json.loads(path.read_text())
    for changed in ({"seq": 3}, {"hash": "0" * 64}, {"seal": "0" * 64}):
        path.write_text(json.dumps(sealed | changed))
        with pytest.raises(StorageError, match="not what this server wrote"):
            log.verify()
    path.write_text("{")
    with pytest.raises(StorageError):
        log.verify()
    path.unlink()
    assert "missing" in log.verify().problem


def test_many_writers_make_one_chain(database: Database, secret: Secret, tmp_path: Path) -> None:
    def work() -> None:
        fill(Audit(database, secret, tmp_path / "home"), 10)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verdict = Audit(database, secret, tmp_path / "home").verify()
    assert (verdict.ok, verdict.num_rows) == (True, 40)


def test_servers_with_homes_of_their_own_share_a_chain(database: Database, tmp_path: Path) -> None:
    logs = [Audit(database, Secret(bytes([letter]) * 32), tmp_path / str(letter)) for letter in b"ab"]
    fill(logs[0], 3)
    fill(logs[1], 3)
    assert [log.verify().ok for log in logs] == [True, True]
    with database.begin() as connection:
        connection.execute(sa.delete(audit).where(audit.c.seq > 4))
    assert [log.verify().ok for log in logs] == [True, False]  # rows 1 to 3 are what the first one vouches for


def test_secrets_and_control_characters_stay_out(log: Audit, database: Database) -> None:
    row = log.record("key_a", "shop", "alias.set", "x", password="hunter2", note="sk-" + "a" * 30, name="a\r\n\x1b[31m\u202eb")
    with database.begin(read_only=True) as connection:
        [raw] = connection.execute(sa.select(audit.c.details)).scalars()
    assert "hunter2" not in raw and "sk-a" not in raw
    assert raw.isprintable() and raw.isascii()
    assert row.details["name"] == "a\r\n\x1b[31m\u202eb"
    assert len(log.record("key_a", "shop", "alias.set", "x" * 999).target) == 255


def test_identical_refusals_are_counted(log: Audit) -> None:
    counted = Refusals(log)
    for _ in range(1000):
        counted.note(Refusal("", "", "GET /v1/models", "permission_denied", "10.0.0.1"))
    counted.write()
    counted.write()
    [row] = log.list()
    assert (row.outcome, row.details) == ("refused", {"reason": "permission_denied", "client": "10.0.0.1"})
    counted.write(all_of_it=True)
    assert [row.details.get("times") for row in log.list()] == [999, None]
    counted.write(all_of_it=True)
    assert len(log.list()) == 2
    assert refusals.MINUTE_S == 60


def test_a_flood_of_kinds_is_bounded(log: Audit) -> None:
    counted = Refusals(log)
    for number in range(10_000):
        counted.note(Refusal("", "", "GET /v1/models", "permission_denied", f"10.0.{number // 256}.{number % 256}"))
    counted.write(all_of_it=True)
    rows = log.list(limit=1000)
    assert len(rows) == KINDS + 2
    assert sum(1 + row.details.get("times", 0) for row in rows) == 10_001  # the row that has `times` says nothing of its own
    assert log.verify().ok


def test_local_changes_are_recorded_under_the_users_name(settings: Settings) -> None:
    database = open_database(settings)
    record_local(settings, database, "library.pull", "gpt2", why="a test")
    [row] = Audit(database, Secret.of(settings), settings.home).list()
    assert row.actor.startswith("user:")
    assert (row.action, row.details) == ("library.pull", {"why": "a test"})
    database.close()
