"""Who kills: at random moments a random victim, the server itself, one of its engines, one of its jobs, a connection of its database."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from random import Random

import psutil

from tests.promises.service import Service

ENGINE, JOB = "llmos.engine.worker", "llmos.kernel.child"
EXTRA_S = 120.0  # how much longer than asked it waits for a kind of victim that never was there


class Killer:
    """kills: how often each kind of victim was found and killed. database_url: of the PostgreSQL server, None without."""

    def __init__(self, service: Service, rng: Random, *, database_url: str | None = None) -> None:
        self.service, self.rng, self.database_url = service, rng, database_url
        self.kills: Counter[str] = Counter()
        self.victims = ["server", "engine", "job"] + (["database"] if database_url is not None else [])

    def run(self, seconds: float, *, every_s: tuple[float, float]) -> None:
        """Kills until the time is over and everything that can die has died at least once. A server that was the victim is started
        again, as a supervisor would."""
        begin = time.monotonic()
        due = self.rng.sample(self.victims, len(self.victims))
        while (now := time.monotonic() - begin) < seconds or (due and now < seconds + EXTRA_S):
            time.sleep(self.rng.uniform(*every_s))
            victim = due[0] if due else self.rng.choices(self.victims, [2, 3, 5, 3][: len(self.victims)])[0]
            if self._kill(victim):
                self.kills[victim] += 1
                due = [kind for kind in due if kind != victim]
            elif due:
                due = [*due[1:], victim]  # it is not there right now
            if not self.service.alive:
                self.service.start()

    def _kill(self, victim: str) -> bool:
        if victim == "server":
            self.service.kill()
            return True
        if victim == "database":
            return self._cut_connection()
        return self._kill_child(ENGINE if victim == "engine" else JOB)

    def _kill_child(self, what: str) -> bool:
        found = []
        for child in self.service.children():
            with contextlib.suppress(psutil.Error):
                if any(what in part for part in child.cmdline()):
                    found.append(child)
        if not found:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            self.rng.choice(found).kill()
        return True

    def _cut_connection(self) -> bool:
        import psycopg

        assert self.database_url is not None
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            pids = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ).fetchall()
            if not pids:
                return False
            connection.execute("SELECT pg_terminate_backend(%s)", self.rng.choice(pids))
            return True


def left_over(service: Service) -> list[str]:
    """Processes of this service's home that are still there."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("LLMOS_HOME") == str(service.home) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid}: {' '.join(process.cmdline())[:120]}")
    return found
