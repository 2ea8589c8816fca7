"""The cores of this machine, taken in turns by the processes that compute: engines and jobs.

Two processes that compute at once fight with two pools of threads for the same cores, and both lose. So whoever computes takes the
cores for one step (a decode step of a batch, a piece of a prompt, a training step), and then the next one has them.

    turnstile.lock     held from joining the line until the cores are there: who just had them cannot pass who waits
    cores.lock         held for one step
    interactive.lock   held, shared, by every engine while somebody waits for its answer; other work stands back then

All three are flock(2) on files in Settings.run_folder: the kernel frees them with the process, however it ends, and they cost nothing
while nobody uses them. The lease is a courtesy and never a condition: a process that was stopped in the middle of its step holds
the others up for LONGEST_STEP_S once, then they compute without it until it is gone.
"""

from __future__ import annotations

import fcntl
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from llmos.errors import StorageError
from llmos.infra.files import make_dir
from llmos.infra.logs import get_logger
from llmos.kernel.base import Priority

log = get_logger("kernel")
LONGEST_STEP_S = 2.0  # that anybody waits for the step of another
LOOK_S = 0.01  # how often work that stands back looks whether it may go on
LEAST_SHARE: Final = {Priority.NORMAL: 1 / 4, Priority.BATCH: 1 / 20}
"""Of the time, that work of a class has for its steps though interactive requests are there all the time: nobody starves. A step of
s seconds stands back for s * (1 / share - 1), so what takes long steps has them seldom."""
PATIENCE_S = 30.0  # that a step stands back at most
FIRST_STEP_S = 0.1  # what a step is thought to take before one was seen


def never() -> bool:
    return False


class Compute:
    """One process's way to the lease. folder: where the locks are (Settings.run_folder); None: nobody else is there, nothing is taken.
    Thread-safe; a thread that holds a step must not ask for another. A step that nobody else wants costs a few microseconds
    (`lease_us` of benchmarks/bench_overload.py: the mean of 10,000 empty steps)."""

    def __init__(self, folder: Path | None) -> None:
        self._here = _HERE.setdefault(folder, _Here()) if folder is not None else _Here()
        self._files = _Files.open(folder) if folder is not None else None
        self._line = _Line(self._files) if self._files is not None else None
        self._threads_turnstile, self._threads_cores = threading.Lock(), threading.Lock()
        self._presence = threading.Lock()
        self._present = 0
        self._step_s = FIRST_STEP_S  # of the last step that was not interactive

    # -- steps ---------------------------------------------------------------------------------------------------------
    @contextmanager
    def step(self, priority: str = Priority.INTERACTIVE, *, stop: Callable[[], bool] = never) -> Iterator[None]:
        """The cores are this thread's inside. What is not interactive first stands back; `stop` ends that, not the step."""
        if self._files is None:
            yield
            return
        if priority != Priority.INTERACTIVE:
            self.stand_back(stop, priority)
        mine = self.take()
        began = time.monotonic()
        try:
            yield
        finally:
            if mine:
                self.give_back()
            if priority != Priority.INTERACTIVE:
                self.took(time.monotonic() - began)

    def stand_back(self, stop: Callable[[], bool] = never, priority: str = Priority.BATCH) -> float:
        """Returns when no other process has interactive requests, when `stop()` is true, or when this work has its share all the
        same (LEAST_SHARE). The seconds it took."""
        began = time.monotonic()
        share = LEAST_SHARE.get(Priority(priority), 1.0)
        end = began + min(self._step_s * (1 / share - 1), PATIENCE_S)
        while self.busy() and not stop() and time.monotonic() < end:
            time.sleep(LOOK_S)
        return time.monotonic() - began

    def take(self) -> bool:
        """Waits for the cores. True: they are ours until `give_back`. False: go on without, for they are held by the job that this
        process runs, or did not become free in time."""
        files = self._files
        if files is None or self._here.job:
            return False
        with self._threads_turnstile:  # threads of this process stand in a line of the same kind before it joins the others'
            if not self._threads_cores.acquire(timeout=LONGEST_STEP_S):
                return False
        taken = False
        try:
            taken = self._take(files)
        finally:
            if not taken:
                self._threads_cores.release()
        return taken

    def _take(self, files: _Files) -> bool:
        try:
            fcntl.flock(files.turnstile, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(files.cores, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            assert self._line is not None
            return self._line.wait(LONGEST_STEP_S)
        fcntl.flock(files.turnstile, fcntl.LOCK_UN)
        return True

    def give_back(self) -> None:
        assert self._files is not None
        fcntl.flock(self._files.cores, fcntl.LOCK_UN)
        self._threads_cores.release()

    def took(self, seconds: float) -> None:
        """How long a step was; the next one stands back in proportion."""
        self._step_s = seconds

    def keep(self, job: bool) -> None:
        """For Steps: whether all of this process may compute on what was taken."""
        self._here.job = job

    # -- presence ------------------------------------------------------------------------------------------------------
    @contextmanager
    def serving(self) -> Iterator[None]:
        """Held while this process has interactive requests; may be held more than once at a time."""
        if self._files is None:
            yield
            return
        with self._presence:
            self._present += 1
            if self._present == 1:
                self._announce(self._files.presence)
                self._here.present.add(self)
        try:
            yield
        finally:
            with self._presence:
                self._present -= 1
                if not self._present:
                    self._here.present.discard(self)
                    fcntl.flock(self._files.presence, fcntl.LOCK_UN)

    @staticmethod
    def _announce(presence: int) -> None:
        for _ in range(100):  # who looks holds it for some microseconds
            with suppress(BlockingIOError):
                fcntl.flock(presence, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return
            time.sleep(0.0001)

    def busy(self) -> bool:
        """Whether another process has interactive requests. A process that has them itself waits for nobody: False."""
        if self._files is None or self._here.present:
            return False
        with self._presence:  # the descriptor is shared by all threads
            try:
                fcntl.flock(self._files.look, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            fcntl.flock(self._files.look, fcntl.LOCK_UN)
            return False

    def close(self) -> None:
        """Closes the files. Only when no step is held or waited for, and nobody asks for one afterwards."""
        files, line, self._files = self._files, self._line, None
        if files is not None and line is not None and line.end():  # else its thread still waits for them
            files.close()


@dataclass(slots=True)
class _Here:
    """What this process does itself in a folder of locks, whichever of its objects does it. job: holds the cores (Steps), for all
    that computes in its process."""

    present: set[Compute] = field(default_factory=set)
    job: bool = False


_HERE: dict[Path, _Here] = {}


@dataclass(frozen=True, slots=True)
class _Files:
    """Open descriptors; `presence` and `look` are two of one file: a lock and a look at it do not mix on one."""

    turnstile: int
    cores: int
    presence: int
    look: int

    @classmethod
    def open(cls, folder: Path) -> _Files | None:
        """None where the folder cannot be used: then there is no lease, and the log says so."""
        opened: list[int] = []
        try:
            make_dir(folder)
            for name in ("turnstile", "cores", "interactive", "interactive"):
                opened.append(os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except (OSError, StorageError) as problem:
            for file in opened:
                os.close(file)
            log.warning("processes will compute at the same time: the locks in %s cannot be used (%s)", folder, problem)
            return None
        return cls(*opened)

    def close(self) -> None:
        for file in (self.turnstile, self.cores, self.presence, self.look):
            os.close(file)


class _Line:
    """Waits for the locks in a thread of its own, because flock cannot be told when to give up. One waiter at a time
    (Compute's own locks see to it); after one that gave up, others go without until the locks have come."""

    def __init__(self, files: _Files) -> None:
        self._files = files
        self._wanted: queue.SimpleQueue[tuple[threading.Lock, threading.Event] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stuck: threading.Event | None = None

    def wait(self, timeout_s: float) -> bool:
        if self._stuck is not None and not self._stuck.is_set():
            return False
        self._stuck = None
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="compute-line", daemon=True)
            self._thread.start()
        decided, ready = threading.Lock(), threading.Event()  # who takes `decided` first says whether the wait was in vain
        self._wanted.put((decided, ready))
        if ready.wait(timeout_s) or not decided.acquire(blocking=False):
            return True
        self._stuck = ready
        return False

    def end(self) -> bool:
        """False when the thread cannot end yet, for it waits for a lock."""
        self._wanted.put(None)
        if self._stuck is not None and not self._stuck.is_set():
            return False
        if self._thread is not None:
            self._thread.join()
        return True

    def _run(self) -> None:
        files = self._files
        while (wanted := self._wanted.get()) is not None:
            decided, ready = wanted
            fcntl.flock(files.turnstile, fcntl.LOCK_EX)
            fcntl.flock(files.cores, fcntl.LOCK_EX)
            fcntl.flock(files.turnstile, fcntl.LOCK_UN)
            if not decided.acquire(blocking=False):  # too late: nobody waits any more
                fcntl.flock(files.cores, fcntl.LOCK_UN)
            ready.set()


class Steps:
    """The turns of one job: the cores are its own from one `stand_back` to the next. For the context of a job that computes; a
    job that mostly waits has no use for it, and must not hold the cores meanwhile."""

    def __init__(self, compute: Compute, priority: str = Priority.BATCH) -> None:
        self._compute, self._priority = compute, priority
        self._mine = False
        self._since: float | None = None  # when the step that is under way began

    def stand_back(self, stop: Callable[[], bool] = never) -> float:
        """Gives the cores up, waits until this job may compute, takes them again. The seconds it waited; with `stop()` true it
        returns soon and without them."""
        self.rest()
        began = time.monotonic()
        self._compute.stand_back(stop, self._priority)
        if not stop():
            self._mine = self._compute.take()
            self._compute.keep(self._mine)
            self._since = time.monotonic()
        return time.monotonic() - began

    def rest(self) -> None:
        """Gives the cores up, for as long as the job does not compute."""
        if self._since is not None:
            self._compute.took(time.monotonic() - self._since)
            self._since = None
        if self._mine:
            self._mine = False
            self._compute.keep(False)
            self._compute.give_back()
