"""The runner: the thread that works off the queue, in the server, or in a command's own process when there is no server.

    take what attempts say -> keep leases -> do what owners wish -> look after other runners' jobs -> start what may start

It holds nothing that matters: kill it at any point and the next runner goes on from the rows. The database may be away for a while:
what attempts say waits, and nothing is answered that is not on disk.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from llmos.errors import Fenced, OverCapacity, StorageError, UsageError
from llmos.infra.database import Database
from llmos.infra.hardware import Hardware, detect
from llmos.infra.logs import get_logger
from llmos.kernel.attempts import Held, overdue
from llmos.kernel.base import HEARTBEAT_S, LEASE_S, Job
from llmos.kernel.budget import MemoryBudget
from llmos.kernel.executors.base import Executor
from llmos.kernel.executors.choice import executor_for
from llmos.kernel.policy import End
from llmos.kernel.presence import FOREIGN_BEAT_S, Presence
from llmos.kernel.runs import Run
from llmos.kernel.starting import Starter
from llmos.kernel.store import JobStore
from llmos.kernel.watch import Watch
from llmos.settings import Settings

POLL_S = 0.05  # SQLite: asks a counter whether anything was committed
POLL_SERVER_S = 0.5  # PostgreSQL: asks for rows
LOOK_EVERY_S = 1.0  # at the rows, changed or not: retries, deadlines and leases come with time
DRAIN_S = 15.0
_log = get_logger("kernel")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A running job for people."""

    job: Job
    where: str
    memory_bytes: int


class Runner:
    """Runs jobs until `drain` or `close`. Start it once.

    budget: the book that engines stand in too; None: memory is not counted. make_room(size_bytes): may free some of it.
    cores: how many jobs may compute with; None: those of this process. only: ids that it may take (a live set); None: everybody's.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        *,
        executor: Executor | None = None,
        budget: MemoryBudget | None = None,
        make_room: Callable[[int], None] | None = None,
        cores: int | None = None,
        only: Collection[str] | None = None,
        lease_s: float = LEASE_S,
        heartbeat_s: float | None = None,
    ) -> None:
        self.settings = settings
        self.store = JobStore(database)
        self.presence = Presence(database)
        self.on_gone: Callable[[str], None] = lambda job_id: None  # told when an attempt of a job has ended; must not raise
        self.name = ""
        self._database = database
        self._executor = executor or executor_for(settings)
        self._budget, self._only = budget, only
        self._hardware: Hardware = detect()
        self._cores = cores or settings.num_threads or self._hardware.cores.value
        self._lease_s = lease_s
        self._heartbeat_s = heartbeat_s or min(HEARTBEAT_S, lease_s / 3)
        self._runs: dict[str, Run] = {}
        self._watch: Watch | None = None
        self._wakeup = threading.Event()  # of the thread's sleep
        self._starter = Starter(
            settings,
            self.store,
            self._executor,
            budget=budget,
            make_room=make_room,
            cores=self._cores,
            accelerators=len(self._hardware.gpus),
            only=only,
            heartbeat_s=self._heartbeat_s,
            wake=self._wakeup.set,
        )
        self._asked = threading.Event()  # to look at the rows
        self._stop_at: float | None = None
        self._version: int | None = None
        self._looked_at = self._watched_at = self._beaten_at = self._present_at = 0.0
        self._thread = threading.Thread(target=self._run, name="llmos-runner", daemon=True)

    # -- from any thread -----------------------------------------------------------------------------------------------
    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Something may have changed: look now."""
        self._asked.set()
        self._wakeup.set()

    def running(self) -> list[RunView]:
        """The attempts of this runner now, with the newest memory they told."""
        runs = [run for run in list(self._runs.values()) if not run.over]
        return [RunView(job=run.job, where=run.attempt.where, memory_bytes=run.memory_bytes) for run in runs]

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def drain(self, timeout_s: float = DRAIN_S) -> None:
        """Starts nothing any more, asks every attempt to stop (it may save a checkpoint), and returns when all are gone; those that
        are left after timeout_s are killed. The jobs are back in the queue, and it counts as nothing. Idempotent; a second call
        can only shorten the wait."""
        stop_at = time.monotonic() + timeout_s
        self._stop_at = stop_at if self._stop_at is None else min(self._stop_at, stop_at)
        self.wake()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s + DRAIN_S)

    def close(self) -> None:
        """Ends everything at once."""
        self.drain(0.0)

    # -- the thread ------------------------------------------------------------------------------------------------------
    def _run(self) -> None:
        failures = 0
        try:
            while not self._is_done():
                try:
                    self._cycle()
                    failures = 0
                except Exception as problem:  # noqa: BLE001 - the queue must be worked off whatever happens; it is logged
                    failures += 1
                    self._report(problem, failures)
                    if self._stop_at is not None and time.monotonic() > self._stop_at + 2.0:
                        break  # the database is away while we have to go: the next runner sees to the rest
                    self._wakeup.wait(min(2.0, 0.05 * 2**failures))
                    self._wakeup.clear()
                    self._asked.set()
        finally:
            self._executor.close()
            if self.name:
                with contextlib.suppress(Exception):
                    self.presence.leave(self.name)

    def _report(self, problem: Exception, failures: int) -> None:
        if isinstance(problem, StorageError | OverCapacity):
            if failures == 1:
                _log.error("jobs: %s The runner tries again.", problem)
        else:
            _log.exception("jobs: the runner failed and tries again")

    def _is_done(self) -> bool:
        return self._stop_at is not None and not self._runs

    def _cycle(self) -> None:
        if self._watch is None:
            self._enter()
        self._listen()
        self._beat()
        if self._stop_at is not None:
            self._stop()
        if self._is_due():
            held = self.store.held()
            self._do_wishes([job for job in held if job.runner == self.name])
            self._look_at_others(held)
            if self._stop_at is None:
                assert self._watch is not None
                self._starter.begin(self.name, self._runs, self._watch.others)
        for run in self._runs.values():
            run.escalate()
        self._pause()

    def _enter(self) -> None:
        memory = self._budget.total_bytes if self._budget else None
        facts = {
            "cores": self._cores,
            "memory_bytes": memory,
            "accelerators": len(self._hardware.gpus),
            "shared": self._only is None,
        }
        self.name = self.presence.enter(facts, self.name)
        self._watch = self._watch or Watch(self.store, self.presence, self.name, self._lease_s)

    def _is_due(self) -> bool:
        """Whether the rows may have changed since we looked."""
        now, asked = time.monotonic(), self._asked.is_set()
        self._asked.clear()  # before the look: who asks during it is heard the next time
        version = self._database.version()
        every_s = POLL_SERVER_S if version is None else LOOK_EVERY_S
        if not asked and version == self._version and now - self._looked_at < every_s:
            return False
        self._version, self._looked_at = version, now
        return True

    def _pause(self) -> None:
        self._wakeup.wait(POLL_S)
        self._wakeup.clear()

    def _listen(self) -> None:
        """Everything that attempts said; those that are gone leave."""
        for run in list(self._runs.values()):
            try:
                run.take()
            except UsageError as problem:
                run.reject(problem)
            if run.gone:
                del self._runs[run.id]
                if self._budget is not None:
                    self._budget.free(run.id)
                self._asked.set()  # there is room now
                self._executor.spare()
                self.on_gone(run.id)

    def _beat(self) -> None:
        """Keeps the leases of attempts that are heard of, ends those that are not, and shows that this runner is here."""
        now = time.monotonic()
        if now - self._beaten_at >= self._heartbeat_s:
            for run in self._runs.values():
                if not (run.over or run.starting) and now - run.attempt.heard_at > self._lease_s:
                    run.lose(f"was not heard of for {self._lease_s:g} s")
            alive = [run for run in self._runs.values() if not run.over and (run.starting or run.attempt.heard_at > run.beat_at)]
            for run in alive:
                run.beat_at = run.attempt.heard_at
            if alive:
                self.store.beat([(run.id, run.number) for run in alive])
            self._beaten_at = now
        every_s = FOREIGN_BEAT_S if self._database.version() is None else self._heartbeat_s
        if now - self._present_at >= min(every_s, self._heartbeat_s):
            self._present_at = now
            if not self.presence.beat(self.name):
                self._enter()  # somebody took us for dead; what he took over is fenced, what we hold goes on

    def _do_wishes(self, mine: list[Held]) -> None:
        for job in mine:
            run = self._runs.get(job.id)
            if run is None or run.number != job.attempt:
                with contextlib.suppress(Fenced):
                    self.store.release(job.id, job.attempt, End(how="gone", why=f"attempt {job.attempt} was never started"))
            elif job.overdue:
                run.fail(overdue("while it ran"))
            elif job.wish == "cancel":
                run.want("cancel")
            elif job.wish == "pause":
                run.want("pause")
        held = {(job.id, job.attempt) for job in mine}
        for run in self._runs.values():
            if not run.over and (run.id, run.number) not in held:
                run.fence()

    def _look_at_others(self, held: list[Held]) -> None:
        assert self._watch is not None
        if time.monotonic() - self._watched_at < LOOK_EVERY_S:
            return
        self._watched_at = time.monotonic()
        if self._watch.look(held):
            self._asked.set()  # they are in the queue now
        self.store.expire()

    def _stop(self) -> None:
        assert self._stop_at is not None
        late = time.monotonic() >= self._stop_at
        for run in self._runs.values():
            run.want("stop")
            if late:
                run.release(End(how="left", why="the service stops"))
                run.fence()
