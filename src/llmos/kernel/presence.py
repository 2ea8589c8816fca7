"""Which runners there are, and which of them live. A runner of this machine is checked by its process; of another one it is only
known whether its number still grows, so who watches compares it with his own clock.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from llmos.infra.database import Database
from llmos.infra.tables import runners
from llmos.kernel.rows import iso, now
from llmos.settings import boot_id

FOREIGN_BEAT_S = 2.0  # how often a runner shows that it is there, where others cannot look at its process


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One row. host: the machine and its process namespace. facts: born (start time of the process, which tells a later process
    of the same pid apart), boot, cores, memory_bytes, shared (it takes everybody's jobs)."""

    id: str
    host: str
    pid: int
    beat: int
    facts: Mapping[str, Any]

    @property
    def here(self) -> bool:
        return self.host == this_host()

    @property
    def alive_here(self) -> bool:
        """Of a member of this machine: whether its very process still exists and was not left behind by a boot."""
        return self.facts.get("boot") == boot_id() and _born(self.pid) == self.facts.get("born")


class Presence:
    """The table of runners. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def enter(self, facts: Mapping[str, Any], name: str = "") -> str:
        """Puts this process down as a runner, anew or again under its name. Returns the runner's id."""
        host, pid = this_host(), os.getpid()
        name = name or f"{host[:80]}:{pid}:{os.urandom(6).hex()}"
        told = {**facts, "born": _born(pid), "boot": boot_id()}
        row = {"id": name, "host": host, "pid": pid, "beat": 0, "facts": json.dumps(told), "started_at": iso(now())}
        with self.database.begin() as connection:
            connection.execute(sa.insert(runners).values(row))
        return name

    def beat(self, name: str) -> bool:
        """False when somebody has taken it for dead and removed it."""
        with self.database.begin(durable=False) as connection:
            update = sa.update(runners).where(runners.c.id == name).values(beat=runners.c.beat + 1)
            return connection.execute(update).rowcount == 1

    def leave(self, name: str) -> None:
        """Of itself at its end, or of a dead one."""
        with self.database.begin() as connection:
            connection.execute(sa.delete(runners).where(runners.c.id == name))

    def all(self) -> list[Member]:
        with self.database.begin(read_only=True) as connection:
            rows = connection.execute(sa.select(runners).order_by(runners.c.started_at)).all()
        return [Member(id=row.id, host=row.host, pid=row.pid, beat=row.beat, facts=json.loads(row.facts)) for row in rows]

    def somebody_serves(self) -> bool:
        """Whether a living runner takes everybody's jobs. For runners of other machines it looks twice: up to three beats."""
        members = [member for member in self.all() if member.facts.get("shared")]
        if any(member.here and member.alive_here for member in members):
            return True
        before = {member.id: member.beat for member in members if not member.here}
        deadline = time.monotonic() + 3 * FOREIGN_BEAT_S
        while before and time.monotonic() < deadline:
            time.sleep(0.2)
            if any(member.beat != before.get(member.id, member.beat) for member in self.all()):
                return True
        return False


@lru_cache(maxsize=1)
def this_host() -> str:
    """Name of the machine, its id, and the process namespace in which a pid means something here."""
    try:
        machine = Path("/etc/machine-id").read_text().strip()[:12]
    except OSError:
        machine = ""
    try:
        namespace = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        namespace = ""
    return f"{socket.gethostname()[:64]}/{machine or boot_id()[:12]}/{namespace}"


def _born(pid: int) -> int | None:
    """When the process started, in ticks since the boot; None when there is none (a zombie counts as none)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
