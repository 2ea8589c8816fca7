"""All of access for one server: keys, projects, quotas, usage and audit on one database, and the thread that writes their counts down.

    access = Access(settings, database);  access.start();  …;  access.close()

The CLI and the SDK make one without `start`, for keys and for the audit of what they change themselves.
"""

from __future__ import annotations

import getpass
import threading
import time
from collections.abc import Callable
from typing import Any

from llmos.access.audit import Audit
from llmos.access.base import DEFAULT_PROJECT, ENV, Caller
from llmos.access.holdings import check_disk, check_jobs
from llmos.access.keys import Keys
from llmos.access.projects import Projects
from llmos.access.quotas import QuotaBook
from llmos.access.refusals import Refusals
from llmos.access.ring import Ring
from llmos.access.secret import Secret
from llmos.access.usage import UsageBook
from llmos.errors import LLMOSError
from llmos.infra.database import Database
from llmos.infra.logs import get_logger
from llmos.settings import Settings

LOOK_S = 0.4  # between two looks at the keys
WRITE_S = 1.0  # between two writings of counts
log = get_logger("access")


class Access:
    """See the module's docstring. `local_is_open`: whether the machine's own user needs no key while there is none."""

    def __init__(self, settings: Settings, database: Database, *, local_is_open: bool = True) -> None:
        secret = Secret.of(settings)
        self.database = database
        self.keys = Keys(database, secret)
        self.projects = Projects(database)
        self.ring = Ring(self.keys, env_key=settings.api_key, open_without_keys=local_is_open)
        self.quotas = QuotaBook(database)
        self.usage = UsageBook(database)
        self.audit = Audit(database, secret, settings.home)
        self.refusals = Refusals(self.audit)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def check_jobs(self, caller: Caller) -> None:
        """Raises RateLimited when one more job is too many."""
        check_jobs(self.database, caller, self.ring.members(caller.account))

    def check_disk(self, caller: Caller, more_bytes: int) -> None:
        """Raises RateLimited when so many more bytes of files are too many."""
        check_disk(self.database, caller, self.ring.members(caller.account), more_bytes)

    def account(self, ref: str) -> tuple[str, ...]:
        """The ids of a key, by id or name, and of those it was rotated from and into. "env": that of LLMOS_API_KEY. Raises as
        `Keys.get`."""
        key_id = ref if ref == ENV.key_id else self.keys.get(ref).id
        self.ring.changed()
        caller = self.ring.of(key_id)
        return self.ring.members(caller.account) if caller is not None else (key_id,)

    def start(self) -> None:
        """Begins to keep the ring fresh and to write counts."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="llmos-access", daemon=True)
            self._thread.start()

    def write(self, *, all_of_it: bool = False) -> None:
        """Writes what is counted. One part that fails keeps its counts and does not stop the others; it is logged."""
        parts: tuple[Callable[[], None], ...] = (
            self.usage.write,
            lambda: self.quotas.give_back(all_of_it=all_of_it),
            self.ring.write_used,
            lambda: self.refusals.write(all_of_it=all_of_it),
        )
        for part in parts:
            try:
                part()
            except LLMOSError as problem:
                log.warning("counts of keys could not be written; they are kept", extra={"error": str(problem)})

    def close(self) -> None:
        """Writes everything and stops. Idempotent."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
            self._thread = None
        self.write(all_of_it=True)

    def _run(self) -> None:
        written_at = time.monotonic()
        while not self._stop.wait(LOOK_S):
            try:
                self.ring.refresh(older_s=0.0)
            except LLMOSError as problem:
                log.warning("the keys could not be read", extra={"error": str(problem)})
            if time.monotonic() - written_at >= WRITE_S:
                self.write()
                written_at = time.monotonic()


def local_user() -> str:
    """How the audit log names who works on this machine without a server."""
    try:
        return f"user:{getpass.getuser()}"
    except (OSError, KeyError):  # no entry for this uid, as in some containers
        return "user:unknown"


def record_local(settings: Settings, database: Database, action: str, target: str, **details: Any) -> None:
    """A row for what the CLI or the SDK changed in this process. It is on disk when this returns."""
    Audit(database, Secret.of(settings), settings.home).record(local_user(), DEFAULT_PROJECT, action, target, **details)
