"""A Ray cluster as executor (extra `cluster`, LLMOS_RAY_ADDRESS): each part is a Ray task; all nodes see LLMOS_HOME under one path.

Ray is never in this process: a driver process (ray_driver.py) submits the tasks and brings back what came of them, for the reasons of
docs/decisions/0007. Rows go through the shared file system, never through Ray's object store.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from multiprocessing.connection import Pipe

from llmos.data.executors.base import Executor, executors
from llmos.data.executors.local import LOOK_S
from llmos.data.work import Part, PartTask
from llmos.errors import InvalidValue, MissingExtra, Unreachable
from llmos.settings import Settings

BESIDE = 2  # tasks submitted per worker: one computed, one ready


class Ray(Executor):
    """workers: what the cluster is asked to compute at a time; it computes as many as it has cores for."""

    name = "ray"

    def __init__(self, workers: int, settings: Settings) -> None:
        super().__init__(workers, settings)
        if not settings.ray_address:
            raise InvalidValue(
                "The executor ray needs a cluster.", param="executor", hint="Set LLMOS_RAY_ADDRESS to HOST:PORT of its head."
            )
        if find_spec("ray") is None:
            raise MissingExtra("cluster", needed_for="The executor ray")
        self._line, theirs = Pipe()
        command = [
            sys.executable,
            "-P",
            "-m",
            "llmos.data.executors.ray_driver",
            str(theirs.fileno()),
            str(os.getpid()),
            settings.ray_address,
        ]
        self._driver = subprocess.Popen(  # noqa: S603 - our own program
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
        )
        theirs.close()

    def run(self, tasks: Sequence[PartTask], step: Callable[[], None]) -> Iterator[tuple[int, Part]]:
        waiting = list(enumerate(tasks))[::-1]
        flying = 0
        while waiting or flying:
            while waiting and flying < self.workers * BESIDE:
                self._send(waiting.pop())
                flying += 1
            step()
            if self._line.poll(LOOK_S):
                place, answer = self._receive()
                flying -= 1
                if isinstance(answer, Exception):
                    raise answer
                yield place, answer

    def _send(self, what: tuple[int, PartTask]) -> None:
        try:
            self._line.send(what)
        except (BrokenPipeError, ConnectionResetError):
            raise self._gone() from None

    def _receive(self) -> tuple[int, Part | Exception]:
        try:
            found: tuple[int, Part | Exception] = self._line.recv()
        except (EOFError, ConnectionResetError):
            raise self._gone() from None
        return found

    def _gone(self) -> Unreachable:
        said = self._driver.communicate(timeout=10)[1].decode(errors="replace").strip().splitlines()
        why = said[-1] if said else f"its driver ended with status {self._driver.returncode}"
        return Unreachable(
            f"The Ray cluster at {self.settings.ray_address} is not there (any more): {why}",
            hint="What was computed is kept; run it again when the cluster is back.",
        )

    def close(self) -> None:
        self._line.close()
        self._driver.kill()
        self._driver.communicate()


executors.add("ray", Ray)
