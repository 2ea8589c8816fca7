"""How a runner starts jobs: which of those that are ready, whether the machine has room for them, and the claim that makes it so.

policy.py decides, from records; here the room is reserved, the claim is written, and the executor gets its order.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection, Sequence

from llmos.errors import LLMOSError, OverCapacity, StorageError
from llmos.infra.files import free_disk_bytes
from llmos.kernel.base import JobError, Resources, kinds
from llmos.kernel.budget import MemoryBudget, gigabytes
from llmos.kernel.executors.base import Executor
from llmos.kernel.messages import Start
from llmos.kernel.policy import NUM_LIGHT, End, Machine, Waiting, choose, may_pass
from llmos.kernel.presence import Member
from llmos.kernel.runs import Run
from llmos.kernel.store import JobStore
from llmos.settings import Settings

NO_ROOM_S = 10.0  # before a job for which no process could be started is tried again
NUM_REMOTE = 64  # attempts at once on an executor with machines of its own


class Starter:
    """Of one runner, used by its thread only. The parameters are those of Runner. wake: called when an attempt has something to say."""

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        executor: Executor,
        *,
        budget: MemoryBudget | None,
        make_room: Callable[[int], None] | None,
        cores: int,
        accelerators: int,
        only: Collection[str] | None,
        heartbeat_s: float,
        wake: Callable[[], None],
    ) -> None:
        self._settings, self._store, self._executor = settings, store, executor
        self._budget, self._make_room, self._only = budget, make_room, only
        self._cores, self._accelerators, self._heartbeat_s, self._wake = cores, accelerators, heartbeat_s, wake
        self._started: Counter[str] = Counter()  # by project

    def begin(self, runner: str, runs: dict[str, Run], others: Sequence[Member]) -> None:
        """Claims and starts what may start, and puts it into `runs`. others: the living runners beside this one."""
        only = None if self._only is None else frozenset(self._only)
        ready = self._store.ready(kinds=kinds.names(), only=only)
        waiting = [job for job in ready if job.id not in runs]  # the attempt before it has to go first
        if not waiting:
            return
        machine = self._machine(runs)
        for job in waiting:
            if not machine.could_ever_fit(job.resources):
                self._refuse(job, machine, others)
        running = Counter(run.job.project for run in runs.values())
        short = False  # of memory: what there is is kept for the first job that lacks it
        for job in choose(waiting, machine, running=running, started=self._started):
            if job.resources.memory_bytes and short:
                continue
            if not self._has_disk(job, runs):
                continue
            if not self._reserve(job):
                short = True
                continue
            try:
                run = self._start(job, runner)
            except BaseException:
                self._free(job.id)
                raise
            if run is None:
                self._free(job.id)
            else:
                runs[job.id] = run

    def _machine(self, runs: dict[str, Run]) -> Machine:
        if self._executor.remote:
            much = 1 << 20
            light = NUM_REMOTE - len(runs)
            return Machine(cores=much, free_cores=much, accelerators=much, free_accelerators=much, light=light)
        total = self._budget.total_bytes if self._budget is not None else None
        machine = Machine(
            cores=self._cores,
            free_cores=self._cores,
            memory_bytes=total,
            free_memory_bytes=total,
            accelerators=self._accelerators,
            free_accelerators=self._accelerators,
            light=NUM_LIGHT,
        )
        for run in runs.values():
            machine = machine.without(run.job.resources)
        return machine

    def _start(self, job: Waiting, runner: str) -> Run | None:
        """None when it is not running now: another runner was quicker, or its owner, or there was no process to be had."""
        claimed = self._store.claim(job.id, runner)
        if claimed is None:
            return None
        self._started[claimed.project] += 1
        order = Start(
            job=claimed,
            settings=self._settings.model_dump(mode="json"),
            module=type(kinds.get(claimed.kind)).__module__,
            search_path=list(sys.path),
            heartbeat_s=self._heartbeat_s,
            cores=claimed.resources.cores if self._executor.remote else min(self._cores, claimed.resources.cores),
        )
        try:
            attempt = self._executor.start(order, self._wake)
        except LLMOSError as problem:
            self._store.release(claimed.id, claimed.attempt, _not_started(problem))
            return None
        self._executor.spare()
        return Run(claimed, attempt, self._store)

    def _reserve(self, job: Waiting) -> bool:
        size_bytes = job.resources.memory_bytes
        if self._budget is None or self._executor.remote or not size_bytes:
            return True
        try:
            if self._make_room is not None and self._budget.free_bytes < size_bytes:
                self._make_room(size_bytes)
            self._budget.reserve(job.id, size_bytes, f"job {job.id} ({job.kind})")
        except OverCapacity:
            return False
        return True

    def _free(self, job_id: str) -> None:
        if self._budget is not None:
            self._budget.free(job_id)

    def _has_disk(self, job: Waiting, runs: dict[str, Run]) -> bool:
        """Whether its disk space is free beside what running jobs asked for. Fails a job that would lack it even alone."""
        asked = job.resources.disk_bytes
        if not asked:
            return True
        free = free_disk_bytes(self._settings.home)
        held = sum(run.job.resources.disk_bytes for run in runs.values())
        if asked > free and not held:
            text = f"The job asks for {gigabytes(asked)} of disk; {gigabytes(free)} are free in {self._settings.home}."
            self._store.refuse(
                job.id, JobError(code=StorageError.code, message=text, hint="Free some space, or set another LLMOS_HOME.")
            )
        return asked + held <= free

    def _refuse(self, job: Waiting, machine: Machine, others: Sequence[Member]) -> None:
        """A job that can never fit here fails with the numbers, unless another runner may take it."""
        for other in others:
            memory = other.facts.get("memory_bytes")
            cap = Machine(cores=1, free_cores=1, memory_bytes=memory, accelerators=int(other.facts.get("accelerators", 0)))
            if other.facts.get("shared") and cap.could_ever_fit(job.resources):
                return
        self._store.refuse(
            job.id, JobError(code=OverCapacity.code, message=_shortage(job.resources, machine), hint="Ask for less.")
        )


def _not_started(problem: LLMOSError) -> End:
    """A machine without room for another process is not the job's fault; the job waits."""
    why = f"it could not be started: {problem.message}"
    if isinstance(problem, OverCapacity):
        return End(how="gone", why=why, retry_after_s=problem.retry_after_s or NO_ROOM_S)
    error = JobError(code=problem.code, message=problem.message, param=problem.param, hint=problem.hint)
    return End(how="failed", why=why, error=error, again=may_pass(problem))


def _shortage(asked: Resources, machine: Machine) -> str:
    if asked.accelerators > machine.accelerators:
        return f"The job asks for {asked.accelerators} accelerators; this machine has {machine.accelerators}."
    return f"The job asks for {gigabytes(asked.memory_bytes)}, more than the whole memory budget of {gigabytes(machine.memory_bytes or 0)}."
