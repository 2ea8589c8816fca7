"""The executors of one machine: this thread, threads, or processes of their own.

Threads are enough where the work is in polars and numpy, which let go of Python's lock; processes where steps are Python. Workers that
are processes compute with one thread each, so that many of them do not fight for the cores.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_futures
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait

from llmos.data.executors.base import Executor, executors
from llmos.data.work import Part, PartTask, run_part
from llmos.errors import Cancelled, ChildCrashed
from llmos.settings import Settings

LOOK_S = 0.1
ONE_THREAD = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
MAX_DEATHS = 2  # of workers with the same part, before it is given up


class Inline(Executor):
    """One part after the other, here."""

    name = "inline"

    def run(self, tasks: Sequence[PartTask], step: Callable[[], None]) -> Iterator[tuple[int, Part]]:
        for place, task in enumerate(tasks):
            step()
            yield place, run_part(task, between=step)


class Threads(Executor):
    """In this process, side by side."""

    name = "threads"

    def __init__(self, workers: int, settings: Settings) -> None:
        super().__init__(workers, settings)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="llmos-data")
        self._over = threading.Event()

    def run(self, tasks: Sequence[PartTask], step: Callable[[], None]) -> Iterator[tuple[int, Part]]:
        waiting = list(enumerate(tasks))[::-1]
        flying: dict[Future[Part], int] = {}
        while waiting or flying:
            while waiting and len(flying) < self.workers:
                place, task = waiting.pop()
                flying[self._pool.submit(run_part, task, between=self._between)] = place
            step()
            for one in wait_futures(flying, timeout=LOOK_S, return_when=FIRST_COMPLETED).done:
                yield flying.pop(one), one.result()

    def _between(self) -> None:
        if self._over.is_set():
            raise Cancelled("The run has ended.")

    def close(self) -> None:
        self._over.set()
        self._pool.shutdown(wait=True, cancel_futures=True)


class Processes(Executor):
    """Side by side in processes that are started with the first tasks. One that dies is replaced, and its part computed again; a part
    that two of them died of is an error that names it."""

    name = "processes"

    def __init__(self, workers: int, settings: Settings) -> None:
        super().__init__(workers, settings)
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, tuple[_Worker, int]] = {}

    def run(self, tasks: Sequence[PartTask], step: Callable[[], None]) -> Iterator[tuple[int, Part]]:
        waiting = list(enumerate(tasks))[::-1]
        deaths = [0] * len(tasks)
        while waiting or self._busy:
            while waiting and len(self._busy) < self.workers:
                worker = self._idle.pop() if self._idle else _Worker()
                place, task = waiting.pop()
                self._busy[worker.line] = worker, place
                with suppress(BrokenPipeError, ConnectionResetError):  # it died meanwhile; receiving says so
                    worker.line.send(task)
            step()
            for line in wait([*self._busy], LOOK_S):
                assert isinstance(line, Connection)
                worker, place = self._busy.pop(line)
                try:
                    answer: Part | Exception = line.recv()
                except (EOFError, OSError):  # nothing more, or half an answer
                    code = worker.end()
                    deaths[place] += 1
                    if deaths[place] >= MAX_DEATHS:
                        raise ChildCrashed(
                            _died(tasks[place], code), hint="Less memory is needed with smaller read.batch_bytes."
                        ) from None
                    waiting.append((place, tasks[place]))
                    continue
                self._idle.append(worker)
                if isinstance(answer, Exception):
                    raise answer
                yield place, answer

    def close(self) -> None:
        for worker in (*self._idle, *(worker for worker, _ in self._busy.values())):
            worker.end()
        self._idle.clear()
        self._busy.clear()


class _Worker:
    """A started worker process and the line to it."""

    def __init__(self) -> None:
        self.line, theirs = Pipe()
        command = [sys.executable, "-P", "-m", "llmos.data.executors.worker", str(theirs.fileno()), str(os.getpid())]
        environment = os.environ | ONE_THREAD
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL)  # noqa: S603
        theirs.close()

    def end(self) -> int:
        """Ends it at once; what it was computing is not there. Returns its exit status."""
        self.line.close()
        self._process.kill()
        return self._process.wait()


def _died(task: PartTask, code: int) -> str:
    source = getattr(task.source, "slice", None)
    what = source.file.label if source is not None else task.key[:12]
    return f"Two worker processes died (exit status {code}) while they computed a part of {what}."


for executor in (Inline, Threads, Processes):
    executors.add(executor.name, executor)
