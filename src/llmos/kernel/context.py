"""What a job sees of the world while it runs: its order, its folder, and how to report. It lives in the job's child process.

def run(self, params, context):
    start = (context.checkpoint or {"done": 0})["done"]
    for done in range(start, params.total):
        context.step()                                   # may raise Cancelled, Paused or Stopping; may wait for serving
        work(done)
        context.progress(done + 1, params.total, "items")
        if done % 100 == 0:
            context.save({"done": done + 1})             # on disk when it returns
    return {"done": params.total}
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from llmos.errors import Cancelled, Fenced, InvalidValue
from llmos.infra.files import make_dir
from llmos.kernel.base import EventType, Job, JobProgress
from llmos.kernel.messages import Checkpoint, Event, Why, check_json
from llmos.kernel.output import plain
from llmos.settings import Settings

Level = Literal["debug", "info", "warning", "error"]
MAX_PROGRESS_CHARS = 500
PROGRESS_EVERY_S = 1.0  # how often a progress becomes a line of the history; the row always has the newest
YIELD_TOLD_S = 0.02  # waits that are shorter, all together, are not worth a line
YIELD_EVERY_S = 1.0


class Paused(Cancelled):
    """The job is to pause: save what is worth it, and let this pass."""


class Stopping(Cancelled):
    """The service stops: save what is worth it, and let this pass. The job goes on when a runner is there again."""


class Port(Protocol):
    """The way to the runner, as the child process or a cluster's actor has it. Thread-safe."""

    def report(self, event: Event | None, progress: JobProgress | None) -> None:
        """Soon, together with others. Blocks while too much is unsent."""

    def commit(self, make: Callable[[int], Checkpoint]) -> bool:
        """Sends it with a number of its own and waits for the Ack; `ok` of it. What was reported before is committed before."""


class Turns(Protocol):
    """How the job takes its turn at the cores (kernel/compute.py, Steps)."""

    def stand_back(self, stop: Callable[[], bool]) -> float:
        """Returns when the machine is free for a step, or `stop()` is true. The seconds it waited."""

    def rest(self) -> None:
        """Gives the cores up until the next `stand_back`."""


class JobContext:
    """job: the row as it was claimed. folder: the job's own on this machine, kept over attempts, removed with the job.
    interrupted: set as soon as the job is to end, for calls that take an Event."""

    def __init__(self, job: Job, settings: Settings, port: Port, turns: Turns | None = None) -> None:
        self.job = job
        self.settings = settings
        self.interrupted = threading.Event()
        self.folder: Path = make_dir(job_folder(settings.home, job.id))
        self.checkpoint: dict[str, Any] | None = job.checkpoint
        self._port = port
        self._turns = turns
        self._wanted: Why | None = None
        self._waited_s, self._waited_told_at = 0.0, -math.inf
        self._began: tuple[float, float] | None = None  # time and `done` of the first progress
        self._told_at = -math.inf

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def project(self) -> str:
        return self.job.project

    @property
    def labels(self) -> Mapping[str, str]:
        return self.job.labels

    @property
    def attempt(self) -> int:
        return self.job.attempt

    @property
    def wanted(self) -> Why | None:
        """What ends the attempt at its next step boundary, None: nothing."""
        return self._wanted

    # -- being interrupted -------------------------------------------------------------------------------------------
    def step(self) -> None:
        """A point where the job may be interrupted. Raises Cancelled, Paused or Stopping; a job with cores waits here while
        interactive requests are served, or another computes."""
        self._raise_wanted()
        if self._turns is not None:
            self._waited_s += self._turns.stand_back(self.interrupted.is_set)
            self._tell_waits()
            self._raise_wanted()

    def rest(self) -> None:
        """For a job with cores: it does not compute from here to its next `step`, others may have the cores."""
        if self._turns is not None:
            self._turns.rest()

    def _tell_waits(self) -> None:
        """One event for all the waits of a second: a training step may be short."""
        now = time.monotonic()
        if self._waited_s >= YIELD_TOLD_S and now - self._waited_told_at >= YIELD_EVERY_S:
            waited_s, self._waited_s, self._waited_told_at = round(self._waited_s, 3), 0.0, now
            self.event("yield", {"waited_s": waited_s, "why": "interactive requests, or other work, had the cores"})

    def _raise_wanted(self) -> None:
        if self._wanted == "cancel":
            raise Cancelled(f"Job {self.id} was cancelled.")
        if self._wanted == "pause":
            raise Paused(f"Job {self.id} is to pause.")
        if self._wanted == "stop":
            raise Stopping("The service stops.")

    def want(self, what: Why) -> None:
        """From the runner: the attempt is to end. Cancel wins over pause and stop."""
        if self._wanted != "cancel":
            self._wanted = what
        self.interrupted.set()

    # -- reporting ---------------------------------------------------------------------------------------------------
    def progress(self, done: float, total: float | None = None, unit: str = "", message: str = "") -> None:
        """How far it is. Cheap: call it as often as you like; one a second is kept in the history."""
        done, total = float(done), None if total is None else float(total)
        if not math.isfinite(done + (total or 0.0)):
            raise InvalidValue(f"A progress of {done} of {total} is not a number.", param="progress")
        message = plain(message, MAX_PROGRESS_CHARS)
        now = time.monotonic()
        if self._began is None or done < self._began[1]:
            self._began = now, done
        since, first = self._began
        left_s = (total - done) * (now - since) / (done - first) if total is not None and done > first else None
        eta_s = round(max(0.0, left_s), 1) if left_s is not None else None
        told = JobProgress(done=done, total=total, unit=unit, message=message, eta_s=eta_s)
        event = None
        if now - self._told_at >= PROGRESS_EVERY_S or done == total:
            self._told_at = now
            event = Event("progress", {"done": done, "total": total, "unit": unit, "message": message, "eta_s": eta_s})
        self._port.report(event, told)

    def metric(self, name: str, value: float, step: int | None = None) -> None:
        """One figure of the run; not a number or infinite is kept as null."""
        value = float(value)
        self.event("metric", {"name": name, "value": value if math.isfinite(value) else None, "step": step})

    def log(self, text: str, level: Level = "info") -> None:
        self.event("log", {"level": level, "text": text})

    def artefact(self, name: str, **facts: Any) -> None:
        """Something the job made: a path below `folder`, the id of a file, a model's name."""
        self.event("artefact", {"name": name, **facts})

    def event(self, type: EventType, data: dict[str, Any]) -> None:
        self._port.report(Event(type, data), None)

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Keeps what the next attempt goes on from: `context.checkpoint` there. On disk when it returns. Raises Fenced when a
        newer attempt has taken over: end at once then."""
        check_json(checkpoint, "checkpoint")
        self.rest()
        if not self._port.commit(lambda number: Checkpoint(number, checkpoint)):
            raise Fenced(f"A newer attempt of job {self.id} has taken over from attempt {self.attempt}.")
        self.checkpoint = checkpoint


def job_folder(home: Path, job_id: str) -> Path:
    """Where the files of a job lie on this machine."""
    return home / "jobs" / job_id
