"""An attempt's place on a node of a Ray cluster: an actor that starts the same child process as on one machine (local.py) there and
keeps what it says until the driver (ray_driver.py) has taken it.

The child ends with the actor, and the actor with its driver. A driver that is alive but out of reach counts as gone after silence_s:
its runner has given the job to somebody else by then.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from pathlib import Path

import msgspec
import ray

from llmos.errors import Conflict, LLMOSError, StorageError
from llmos.kernel.context import job_folder
from llmos.kernel.executors.base import Attempt
from llmos.kernel.executors.local import LocalExecutor
from llmos.kernel.executors.ray_frames import MARKER, Facts, version
from llmos.kernel.messages import (
    MAX_MESSAGE_BYTES,
    Ended,
    Problem,
    Start,
    ToRunner,
    decode_to_attempt,
    encode,
)
from llmos.kernel.policy import may_pass
from llmos.kernel.presence import this_host
from llmos.settings import Settings

SEE_S = 5.0  # for a file to appear on a network's filesystem
TAKE_S = 5.0  # how long `take` waits for something to say
LOOK_S = 0.5


class Place:
    """One actor for one attempt. Its methods are called from several threads."""

    def __init__(self, silence_s: float) -> None:
        self._silence_s = silence_s
        self._some = threading.Condition()
        self._unread: deque[bytes] = deque()
        self._taken = 0  # messages that the driver has for sure
        self._takers = 0
        self._heard_at = time.monotonic()
        self._attempt: Attempt | None = None
        self._begun = threading.Event()

    def start(self, line: bytes, facts: bytes) -> tuple[str, str]:
        """Starts the attempt, or has a Problem to tell. Name and id of the node. `line`: Start; `facts`: Facts."""
        order = decode_to_attempt(line)
        assert isinstance(order, Start)
        place = ray.get_runtime_context()
        order = msgspec.structs.replace(order, cores=min(order.cores, int(place.get_assigned_resources().get("CPU", 0))))
        # The kernel ends the child with the thread that started it, so that is one that lives as long as the actor.
        threading.Thread(target=self._live, args=(order, msgspec.json.decode(facts, type=Facts)), daemon=True).start()
        self._begun.wait()
        return f"node {os.uname().nodename}", place.get_node_id()

    def take(self, taken: int) -> list[bytes]:
        """What the attempt said after its first `taken` messages; waits a little for something."""
        end = time.monotonic() + TAKE_S
        with self._some:
            self._takers += 1
            try:
                while self._taken < taken:
                    self._unread.popleft()
                    self._taken += 1
                while not self._unread and (left_s := end - time.monotonic()) > 0:
                    if self._attempt is not None:
                        self._unread.extend(encode(message) for message in self._attempt.poll())
                    if not self._unread:
                        self._some.wait(left_s)
            finally:
                self._takers -= 1
                self._heard_at = time.monotonic()
            return self._first()

    def tell(self, line: bytes) -> None:
        if self._attempt is not None:
            self._attempt.send(decode_to_attempt(line))

    def stop(self, kill: bool) -> None:
        if self._attempt is not None:
            if kill:
                self._attempt.kill()
            else:
                self._attempt.terminate()

    def _first(self) -> list[bytes]:
        lines: list[bytes] = []
        size = 0
        for line in self._unread:
            lines.append(line)
            size += len(line)
            if size >= MAX_MESSAGE_BYTES:
                break
        return lines

    # -- the thread that lives as long as the actor ------------------------------------------------------------------
    def _live(self, order: Start, facts: Facts) -> None:
        executor = LocalExecutor(spare_s=0)
        try:
            check(order, facts)
            if this_host() != facts.host:  # the runner's folders mean nothing here: the kind must be installed
                order = msgspec.structs.replace(order, search_path=list(sys.path))
            self._attempt = executor.start(order, self._wake)
        except LLMOSError as problem:
            self._say(_told(problem), Ended("it could not be started there"))
        except OSError as problem:
            self._say(_told(StorageError(f"The node {os.uname().nodename}: {problem}.")), Ended("it could not be started there"))
        finally:
            self._begun.set()
        while self._takers or time.monotonic() - self._heard_at < self._silence_s:
            time.sleep(LOOK_S)
        executor.close()
        os._exit(1)  # nobody asks any more: the runner has given the job away

    def _wake(self) -> None:
        with self._some:
            self._some.notify_all()

    def _say(self, *messages: ToRunner) -> None:
        with self._some:
            self._unread.extend(encode(message) for message in messages)
            self._some.notify_all()


def check(order: Start, facts: Facts) -> None:
    """Whether a job of that runner can run on this node. Raises LLMOSError that names the node."""
    node = os.uname().nodename
    if facts.version != version():
        raise Conflict(
            f"The node {node} of the Ray cluster has llmos {version()}; the runner has {facts.version}.",
            hint="Install the same version on every node.",
        )
    settings = Settings.model_validate(order.settings, by_name=True)
    marker = job_folder(settings.home, order.job.id) / MARKER
    end = time.monotonic() + SEE_S
    while _read(marker) != facts.token:
        if time.monotonic() > end:
            raise Conflict(
                f"The node {node} of the Ray cluster does not see the runner's home: {marker} is not there, or is another one.",
                hint="Put LLMOS_HOME on a filesystem that every node has at the same path.",
            )
        time.sleep(0.1)
    if this_host() != facts.host and not (settings.database_url or "").startswith("postgresql"):
        raise Conflict(
            f"The node {node} of the Ray cluster is another machine than the runner's, and SQLite cannot be shared between machines.",
            hint="Set LLMOS_DATABASE_URL to a PostgreSQL database.",
        )


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _told(problem: LLMOSError) -> Problem:
    again = may_pass(problem)
    return Problem(0, problem.code, problem.message, problem.param, problem.hint, again, problem.retry_after_s)
