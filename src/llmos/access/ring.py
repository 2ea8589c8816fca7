"""Which keys are valid now, in memory: what every request asks. A server's access thread reads the database again every
moment (service.py); a request does it itself after a change made here, and when what is known is older than FRESH_S. So a revoked
key is refused at once by this process and within a second by every other.

On loopback nobody needs a key until there is one: LLMOS_API_KEY, or a row, be it of a revoked key.
"""

from __future__ import annotations

import hmac
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from llmos.access.base import ENV, LOCAL, Caller
from llmos.access.keys import Key, Keys
from llmos.access.keytext import PREFIX, well_formed
from llmos.access.projects import utc_after
from llmos.errors import PermissionDenied
from llmos.infra.tables import projects

FRESH_S = 0.9
TOUCH_S = 60.0  # how exact last_used_at is


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    caller: Caller
    digest: str
    revoked: bool
    expires: float | None  # seconds since 1970


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What the database said. members: the ids of an account."""

    entries: dict[str, _Entry] = field(default_factory=dict)  # by digest
    members: dict[str, tuple[str, ...]] = field(default_factory=dict)
    logging: frozenset[str] = frozenset()  # projects whose contents are logged


class Ring:
    """Thread-safe. env_key: of LLMOS_API_KEY. open: whether a caller without a key is the machine's own user while there are none."""

    def __init__(self, keys: Keys, *, env_key: str | None, open_without_keys: bool) -> None:
        self._keys = keys
        self._env_digest = keys.digest(env_key) if env_key else None
        self._open = open_without_keys
        self._seen = _Seen()
        self._read_at = float("-inf")
        self._version: int | None = None
        self._reading = threading.Lock()
        self._used: dict[str, tuple[float, str]] = {}  # key id -> when it was noted, and what is to be written ("": nothing)

    # -- who asks ----------------------------------------------------------------------------------------------------
    def caller(self, key: str) -> Caller:
        """Whose key it is; "" is no key. Raises PermissionDenied saying what is wrong with it."""
        if self._open and not self.locked and not key.startswith(PREFIX):
            return LOCAL  # most clients cannot leave the key out: whatever they send, but a key of ours, stands for none
        if not key:
            raise PermissionDenied("No API key was given.", hint="Send it as 'Authorization: Bearer <key>'.")
        digest = self._keys.digest(key)
        if self._env_digest is not None and hmac.compare_digest(digest, self._env_digest):
            return ENV
        if key.startswith(PREFIX) and not well_formed(key):
            raise PermissionDenied("The API key is mistyped or cut off: its checksum is wrong.")
        entry = self._seen.entries.get(digest)  # of a digest nobody can make without the secret: its timing tells nothing
        if entry is None or not hmac.compare_digest(entry.digest, digest):
            raise PermissionDenied("The API key is not valid.")
        if entry.revoked:
            raise PermissionDenied(f"The API key {entry.caller.key_id} was revoked.")
        if entry.expires is not None and entry.expires <= time.time():
            raise PermissionDenied(f"The API key {entry.caller.key_id} has expired.", hint="Ask for a new one.")
        self._touch(entry.caller.key_id)
        return entry.caller

    def of(self, key_id: str) -> Caller | None:
        """Whose id it is, valid or not: for what was begun with the key. None for an id that is not known. Waits for the database
        now and then."""
        for known in (LOCAL, ENV):
            if key_id == known.key_id:
                return known
        self.refresh()
        return next((entry.caller for entry in self._seen.entries.values() if entry.caller.key_id == key_id), None)

    @property
    def locked(self) -> bool:
        """Whether everybody needs a key."""
        return self._env_digest is not None or bool(self._seen.entries)

    def logs_contents(self, project: str) -> bool:
        return project in self._seen.logging

    def members(self, account: str) -> tuple[str, ...]:
        """The keys that share an account: one, and what it was rotated into."""
        return self._seen.members.get(account, (account,))

    # -- what the database says --------------------------------------------------------------------------------------
    @property
    def stale(self) -> bool:
        return time.monotonic() - self._read_at > FRESH_S

    def changed(self) -> None:
        """Something was written by this process: read before the next answer."""
        self._read_at = float("-inf")
        self._version = None

    def refresh(self, older_s: float = FRESH_S) -> None:
        """Reads again what is older, unless nothing was written since. Raises StorageError."""
        with self._reading:
            if time.monotonic() - self._read_at <= older_s:
                return
            now, version = time.monotonic(), self._keys.database.version()
            if version is None or version != self._version:
                self._seen = self._read()
                self._version = version
            self._read_at = now

    def _read(self) -> _Seen:
        rows = self._keys.rows()
        with self._keys.database.begin(read_only=True) as connection:
            logging = connection.execute(sa.select(projects.c.name).where(projects.c.log_contents != 0)).scalars()
            on = frozenset(logging)
        replaces = {key.id: key.replaces for key, _ in rows}
        entries, members = {}, dict[str, tuple[str, ...]]()
        for key, digest in rows:
            account = _root(key.id, replaces)
            members[account] = (*members.get(account, ()), key.id)
            entries[digest] = _entry(key, digest, account)
        return _Seen(entries=entries, members=members, logging=on)

    # -- last used ---------------------------------------------------------------------------------------------------
    def _touch(self, key_id: str) -> None:
        noted, _ = self._used.get(key_id, (float("-inf"), ""))
        if (now := time.monotonic()) - noted >= TOUCH_S:
            self._used[key_id] = (now, utc_after())

    def write_used(self) -> None:
        """Writes down which keys were used; called now and then, not by requests."""
        due = {key_id: at for key_id, (_, at) in list(self._used.items()) if at}
        self._keys.touch(due)
        for key_id, at in due.items():
            noted, last = self._used[key_id]
            if last == at:
                self._used[key_id] = (noted, "")


def _entry(key: Key, digest: str, account: str) -> _Entry:
    caller = Caller(
        key_id=key.id,
        account=account,
        project=key.project,
        scopes=frozenset(key.scopes),
        priority=key.priority,
        quotas=key.quotas,
    )
    expires = datetime.fromisoformat(key.expires_at).timestamp() if key.expires_at else None
    return _Entry(caller=caller, digest=digest, revoked=key.revoked_at is not None, expires=expires)


def _root(key_id: str, replaces: dict[str, str | None]) -> str:
    """The first of the keys that were rotated one into the other."""
    seen = {key_id}
    while (earlier := replaces.get(key_id)) is not None and earlier in replaces and earlier not in seen:
        seen.add(earlier)
        key_id = earlier
    return key_id
