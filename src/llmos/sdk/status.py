"""What runs on a machine right now, as one record: `llmos top`, `LLMOS.status()` and the route /api/v1/status show the same.

A server fills all of it. In process, and from a database without a server, there is no queue: `queue` is None.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime

import llmos
from llmos.engine.slots import LoadedInfo
from llmos.infra import hardware
from llmos.kernel.base import Job, JobState
from llmos.kernel.jobs import Jobs
from llmos.kernel.presence import Member

MAX_JOBS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineStatus:
    """load: processes that want a core, over the last minute. budget_bytes: what models and jobs may take together, None when
    nobody here loads models."""

    host: str
    cores: int
    load: float
    memory_bytes: int
    available_bytes: int
    budget_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """A model in memory. running: requests at it. tokens_per_s: written over the last seconds, by all of them together."""

    name: str
    engine: str
    memory_bytes: int
    running: int
    tokens_per_s: float
    idle_s: float

    @classmethod
    def of(cls, info: LoadedInfo, tokens_per_s: float = 0.0) -> ModelStatus:
        return cls(
            name=info.name,
            engine=f"{info.engine}/{info.variant}",
            memory_bytes=info.memory_bytes,
            running=info.running,
            tokens_per_s=round(tokens_per_s, 1),
            idle_s=round(info.idle_s, 1),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """Requests at the engines and in front of them. tokens_per_s: over the last seconds. ttft_p50_s: the median time to the
    first token over the last minute, None when nobody asked for a stream."""

    running: int
    waiting: int
    waiting_tokens: int
    tokens_per_s: float
    ttft_p50_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerStatus:
    """Who runs jobs. alive: it is known to be; a runner on another machine counts as alive until its lease is over."""

    id: str
    host: str
    pid: int
    alive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """counts: jobs by state. jobs: the unfinished ones that the asker may see, running ones first, `MAX_JOBS` at most."""

    at: str
    version: str
    uptime_s: float | None
    machine: MachineStatus
    models: tuple[ModelStatus, ...]
    queue: QueueStatus | None
    runners: tuple[RunnerStatus, ...]
    counts: dict[str, int]
    jobs: tuple[Job, ...]


def gather(
    jobs: Jobs,
    *,
    project: str | None = None,
    models: tuple[ModelStatus, ...] = (),
    queue: QueueStatus | None = None,
    budget_bytes: int | None = None,
    uptime_s: float | None = None,
) -> Status:
    """The status with the machine of this process and the jobs of that database. project: whose jobs, None for all."""
    running = jobs.list(project=project, states=(JobState.RUNNING,), limit=MAX_JOBS)
    waiting = jobs.list(project=project, states=(JobState.QUEUED, JobState.PAUSED), limit=MAX_JOBS)
    return Status(
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        version=llmos.__version__,
        uptime_s=uptime_s,
        machine=_machine(budget_bytes),
        models=models,
        queue=queue,
        runners=tuple(_runner(member) for member in jobs.presence.all()),
        counts=jobs.store.counts(project=project),
        jobs=tuple([*running, *waiting][:MAX_JOBS]),
    )


def _machine(budget_bytes: int | None) -> MachineStatus:
    total, available = hardware.memory()
    return MachineStatus(
        host=socket.gethostname(),
        cores=hardware.cores().value,
        load=round(os.getloadavg()[0], 2),
        memory_bytes=total.value,
        available_bytes=available.value,
        budget_bytes=budget_bytes,
    )


def _runner(member: Member) -> RunnerStatus:
    return RunnerStatus(
        id=member.id, host=member.host.partition("/")[0], pid=member.pid, alive=not member.here or member.alive_here
    )
