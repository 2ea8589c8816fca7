"""The audit log: who changed what, and who was refused. Rows are only added, and each row's hash covers the row before it.

    record(actor, "key.revoke", target) -> row n: hash_n = SHA-256(hash_(n-1), row n)        then the seal: LLMOS_HOME/audit.head
    verify()                            -> the first row that is not as it was written, or that rows are missing at the end

Who edits, removes or adds a row breaks the chain; who writes the chain anew, or cuts its end, is at odds with the seal: number and
hash of the newest row, under an HMAC of the server's secret, in a file beside the database. A server sees its own seal only;
with several on one database each of them vouches for the rows up to its last one.

Refusals are bounded: the first of its kind is written at once (by `Refusals`, outside of the request), the others of the same
minute as one row that says how many.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from llmos.access.projects import utc_after
from llmos.access.secret import Secret
from llmos.errors import StorageError
from llmos.infra.database import Database
from llmos.infra.files import make_dir, storage_errors, write_atomic
from llmos.infra.redact import redact_value
from llmos.infra.tables import audit

HEAD = "audit.head"
START = "0" * 64  # the hash before the first row
MAX_TARGET = 255
_LOCK_KEY = 0x6175646974  # "audit", for PostgreSQL's advisory lock
_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """outcome: ok, failed, or refused. details: what else is known, secrets replaced."""

    seq: int
    at: str
    actor: str
    project: str
    action: str
    target: str
    outcome: str
    details: dict[str, Any]
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What `verify` found. first_bad: the first row that is not as it was written; missing: rows that were there and are not.
    problem: one sentence, "" when all is well."""

    ok: bool
    num_rows: int
    first_bad: int | None = None
    missing: int = 0
    problem: str = ""


class Audit:
    """`home` holds the seal. Safe to use from several threads and processes at once."""

    def __init__(self, database: Database, secret: Secret, home: Path) -> None:
        self._database = database
        self._secret = secret
        self._head = home / HEAD

    def record(self, actor: str, project: str, action: str, target: str, outcome: str = "ok", **details: Any) -> AuditRow:
        """Adds a row; it is on disk when this returns. Raises StorageError."""
        row = {
            "at": utc_after(),
            "actor": actor[:64],
            "project": project,
            "action": action[:64],
            "target": str(redact_value(target))[:MAX_TARGET],
            "outcome": outcome,
            "details": _json(redact_value(details)),
        }
        with self._database.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            last = connection.execute(sa.select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)).first()
            seq, before = (last.seq + 1, last.hash) if last else (1, START)
            made = {"seq": seq, **row, "hash": _hash(before, seq, row)}
            connection.execute(sa.insert(audit).values(**made))
        self._seal(seq, str(made["hash"]))
        return _row(made)

    def list(
        self, *, after: int = 0, before: int | None = None, limit: int = 100, actor: str = "", action: str = "", project: str = ""
    ) -> list[AuditRow]:
        """The newest first, of rows whose number is over `after` and under `before`. action: its beginning, "key." for all of keys."""
        wanted = sa.select(audit).where(audit.c.seq > after).order_by(audit.c.seq.desc()).limit(limit)
        if before is not None:
            wanted = wanted.where(audit.c.seq < before)
        if actor:
            wanted = wanted.where(audit.c.actor == actor)
        if action:
            wanted = wanted.where(audit.c.action.startswith(action, autoescape=True))
        if project:
            wanted = wanted.where(audit.c.project == project)
        with self._database.begin(read_only=True) as connection:
            return [_row(found) for found in connection.execute(wanted).mappings()]

    def verify(self) -> Verdict:
        """Reads every row. Raises StorageError."""
        sealed = self._sealed()
        number, hash_before, at_seal = 0, START, START
        for row in self._all():
            number += 1
            if row["seq"] != number:
                gone = row["seq"] - number
                said = f"Row {number} is not there" + (f" ({gone} rows are missing before row {row['seq']})." if gone > 0 else ".")
                return Verdict(ok=False, num_rows=number - 1, first_bad=number, missing=max(0, gone), problem=said)
            if row["hash"] != _hash(hash_before, number, row):
                said = f"Row {number} is not as it was written, or was put there by somebody else."
                return Verdict(ok=False, num_rows=number, first_bad=number, problem=said)
            hash_before = row["hash"]
            at_seal = hash_before if sealed is not None and number == sealed[0] else at_seal
        return self._against_seal(number, at_seal, sealed)

    def _against_seal(self, number: int, at_seal: str, sealed: tuple[int, str] | None) -> Verdict:
        if sealed is None:
            said = f"{self._head} is missing: whether rows are missing at the end cannot be told." if number else ""
            return Verdict(ok=not number, num_rows=number, problem=said)
        if number < sealed[0]:
            said = f"The log ends with row {number}, and had {sealed[0]}."
            return Verdict(ok=False, num_rows=number, first_bad=number + 1, missing=sealed[0] - number, problem=said)
        if at_seal != sealed[1]:
            said = f"Row {sealed[0]}, or one before it, was written anew: its hash is not the sealed one."
            return Verdict(ok=False, num_rows=number, first_bad=sealed[0], problem=said)
        return Verdict(ok=True, num_rows=number)

    def _all(self) -> Iterator[dict[str, Any]]:
        """All rows in order, read in pieces."""
        last = -(2**31)  # also a row with a number below 1 is seen
        while True:
            with self._database.begin(read_only=True) as connection:
                wanted = sa.select(audit).where(audit.c.seq > last).order_by(audit.c.seq).limit(_PAGE)
                found = [dict(row) for row in connection.execute(wanted).mappings()]
            yield from found
            if len(found) < _PAGE:
                return
            last = found[-1]["seq"]

    # -- the seal ----------------------------------------------------------------------------------------------------
    def _seal(self, seq: int, digest: str) -> None:
        """Moves the seal on; never back, whoever of several processes comes last."""
        make_dir(self._head.parent)
        with storage_errors(self._head), self._head.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._head.exists() and (known := self._sealed()) is not None and known[0] >= seq:
                return
            body = {"seq": seq, "hash": digest, "seal": self._secret.digest("audit-head", f"{seq} {digest}")}
            write_atomic(self._head, json.dumps(body) + "\n", mode=0o600)

    def _sealed(self) -> tuple[int, str] | None:
        """Number and hash of the newest row that this home wrote. Raises StorageError when the seal is not ours."""
        try:
            found = json.loads(self._head.read_text())
            seq, digest, seal = int(found["seq"]), str(found["hash"]), str(found["seal"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise self._forged() from None
        if not hmac.compare_digest(seal.encode(), self._secret.digest("audit-head", f"{seq} {digest}").encode()):
            raise self._forged()
        return seq, digest

    def _forged(self) -> StorageError:
        return StorageError(
            f"{self._head} is not what this server wrote.",
            hint="It was changed, or the secret was. Keep both files, and remove audit.head to begin a new seal.",
        )


def _json(value: Any) -> str:
    """In ASCII, so that no control character of a hostile name is in it."""
    return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def _hash(before: str, seq: int, row: dict[str, Any]) -> str:
    fields = [row[name] for name in ("at", "actor", "project", "action", "target", "outcome", "details")]
    return hashlib.sha256(_json([before, seq, *fields]).encode()).hexdigest()


def _row(found: Any) -> AuditRow:
    kept = {name: found[name] for name in AuditRow.__slots__}
    return AuditRow(**kept | {"details": json.loads(found["details"])})
