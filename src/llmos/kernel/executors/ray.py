"""Attempts as actors of a Ray cluster (extra `cluster`, LLMOS_RAY_ADDRESS). Ray itself is never imported in this process.

    RayExecutor (here) --socket--> ray_driver.py, a child process --Ray--> ray_actor.py on a node --socket--> child.py, as with local.py

The driver is started with the first job. When it or the cluster goes away, its attempts have ended without blame, and the next one
starts another driver: a cluster that was there before is waited for, an address that never answered is an error of the job.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable

import msgspec

from llmos.errors import InvalidValue, MissingExtra, OverCapacity, Unreachable
from llmos.infra.files import make_dir, storage_errors
from llmos.infra.logs import get_logger
from llmos.kernel.base import LEASE_S, Job
from llmos.kernel.context import job_folder
from llmos.kernel.executors.base import Attempt, Executor
from llmos.kernel.executors.ray_frames import MARKER, Facts, FromDriver, More, Open, Stop, Tell, ToDriver, Told, frame, version
from llmos.kernel.executors.ray_link import Link
from llmos.kernel.messages import Ended, Problem, Start, ToAttempt, ToRunner, decode_to_runner, encode
from llmos.kernel.presence import this_host
from llmos.settings import Settings

CONNECT_S = 30.0  # for an address that has not answered before
RECONNECT_S = 300.0  # for a cluster that was there: it may be starting anew
RETRY_S = 0.5
AGAIN_S = 30.0  # before the next attempt of a job whose cluster did not answer
KILL_S = 10.0  # for a driver to tell the end of an attempt that was killed
CLOSE_S = 15.0  # for the driver to end its actors
LABEL = "ray."  # a job's label ray.NAME=NUMBER asks for that much of the custom resource NAME
_log = get_logger("kernel")


class RayExecutor(Executor):
    """Raises MissingExtra when ray is not installed. connect_s, reconnect_s: how long a job waits for the cluster to answer."""

    remote = True

    def __init__(
        self, settings: Settings, *, connect_s: float = CONNECT_S, reconnect_s: float = RECONNECT_S, silence_s: float = LEASE_S
    ):
        if importlib.util.find_spec("ray") is None:
            raise MissingExtra("cluster", needed_for="LLMOS_RAY_ADDRESS")
        assert settings.ray_address is not None
        self.address = settings.ray_address
        self._settings = settings
        self._connect_s, self._reconnect_s, self._silence_s = connect_s, reconnect_s, silence_s
        self._lock = threading.Lock()
        self._attempts: dict[int, RayAttempt] = {}
        self._number = 0
        self._outbox: list[ToDriver] = []
        self._linked = False
        self._signal = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._was_here = False
        self._closed = False
        self._thread = threading.Thread(target=self._live, name="ray-executor", daemon=True)
        self._started = False

    def start(self, order: Start, wake: Callable[[], None]) -> Attempt:
        job = order.job
        line = encode(order)
        facts = Facts(version(), this_host(), self._mark(job))
        asked, resources = job.resources, custom_resources(job)
        with self._lock:
            if self._closed:
                raise OverCapacity("The runner stops.")
            self._number += 1
            attempt = self._attempts[self._number] = RayAttempt(self._number, self, wake)
            opened = Open(
                attempt=self._number,
                order=msgspec.Raw(line),
                facts=facts,
                cores=asked.cores,
                memory_bytes=asked.memory_bytes,
                accelerators=asked.accelerators,
                resources=resources,
                heartbeat_s=order.heartbeat_s,
            )
            self._put(opened)
            if not self._started:
                self._started = True
                self._thread.start()
        return attempt

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            os.eventfd_write(self._signal, 1)
            started = self._started
        if started:
            self._thread.join(timeout=CLOSE_S)
        else:
            os.close(self._signal)

    def _mark(self, job: Job) -> str:
        """Writes what a node must find in the job's folder to be sure that it sees the same home."""
        token = secrets.token_hex(16)
        folder = make_dir(job_folder(self._settings.home, job.id))
        with storage_errors(folder):
            (folder / MARKER).write_text(token)
        return token

    def send(self, what: Tell | More | Stop) -> None:
        """Of an attempt. One that is to end before there is a driver has ended. What is for one that is gone is dropped there."""
        with self._lock:
            if self._closed:
                return
            if self._linked or isinstance(what, More):
                self._put(what)
                return
            attempt = self._attempts.pop(what.attempt, None)
            self._outbox = [waiting for waiting in self._outbox if waiting.attempt != what.attempt]
        if attempt is not None:
            attempt.end((Ended("it had not begun"),))

    def _put(self, what: ToDriver) -> None:
        self._outbox.append(what)
        os.eventfd_write(self._signal, 1)

    # -- the thread that starts the driver, and lives as long as it ----------------------------------------------------
    def _live(self) -> None:
        while not self._closed:
            try:
                if self._outbox:
                    self._serve()
                else:
                    _wait_for(self._signal)
            except Exception:  # noqa: BLE001 - the runner must not die of it; it is logged
                _log.exception("jobs: the way to the Ray cluster failed")
                self._end_all(Ended("the way to the Ray cluster failed"))
                time.sleep(RETRY_S)
        with self._lock:
            os.close(self._signal)
        self._end_all(Ended("the runner stops", blameless=True))

    def _serve(self) -> None:
        """One driver, from its start to its end."""
        with Link(self._settings, self.address, self._silence_s, self._signal) as link:
            why = self._connect(link)
            if self._closed:
                return
            if why is not None:
                self._give_up(why)
                return
            self._was_here = self._linked = True
            while not self._closed and (frames := self._exchange(link)) is not None:
                for what in frames:
                    if isinstance(what, Told):
                        self._take(what)
            why = link.why()
        if not self._closed:
            _log.warning("jobs: the connection to the Ray cluster at %s was lost: %s", self.address, why)
            self._end_all(Ended("the connection to the Ray cluster was lost", blameless=True))

    def _connect(self, link: Link) -> str | None:
        """None when the cluster is there; why not otherwise. Starts the driver anew until the time for it is over."""
        end = time.monotonic() + (self._reconnect_s if self._was_here else self._connect_s)
        while not self._closed:
            link.start()
            if link.wait_here(min(end, time.monotonic() + self._connect_s), lambda: self._closed):
                return None
            why = link.why()
            link.stop()
            if not self._was_here or time.monotonic() > end:
                return why
            time.sleep(RETRY_S)
        return None

    def _exchange(self, link: Link) -> list[FromDriver] | None:
        """One round of reading and writing. None when the driver is gone."""
        if any(attempt.is_overdue for attempt in list(self._attempts.values())):
            return None  # the driver does not answer any more
        with self._lock:
            outbox, self._outbox = self._outbox, []
        for what in outbox:
            link.unsent += frame(what)
        return link.exchange(1.0)

    def _take(self, told: Told) -> None:
        attempt = self._attempts.get(told.attempt)
        if attempt is not None:
            attempt.take(told)
            if not attempt.alive:
                del self._attempts[told.attempt]

    def _give_up(self, why: str) -> None:
        said = f"The Ray cluster at {self.address} (LLMOS_RAY_ADDRESS) does not answer: {why}"
        _log.error("jobs: %s", said)
        hint = "Is it running, and is this machine one of its nodes? See docs/cluster.md."
        self._end_all(Problem(0, Unreachable.code, said, None, hint, True, AGAIN_S), Ended("the cluster did not answer"))

    def _end_all(self, *messages: ToRunner) -> None:
        with self._lock:
            attempts, self._attempts = self._attempts, {}
            self._outbox, self._linked = [], False
        for attempt in attempts.values():
            attempt.end(messages)


class RayAttempt(Attempt):
    """One attempt, as the runner sees it."""

    def __init__(self, number: int, executor: RayExecutor, wake: Callable[[], None]) -> None:
        self._number, self._executor, self._wake = number, executor, wake
        self._inbox: deque[ToRunner] = deque()
        self._where = ""
        self._heard_at: float | None = None  # None until the cluster has answered for it
        self._alive = True
        self._killed_at: float | None = None

    def poll(self) -> list[ToRunner]:
        messages: list[ToRunner] = []
        while self._inbox:
            messages.append(self._inbox.popleft())
        if messages and self._alive:
            self._executor.send(More(self._number))
        return messages

    def send(self, message: ToAttempt) -> None:
        if self._alive:
            self._executor.send(Tell(self._number, msgspec.Raw(encode(message))))

    def terminate(self) -> None:
        if self._alive:
            self._executor.send(Stop(self._number, kill=False))

    def kill(self) -> None:
        if self._alive and self._killed_at is None:
            self._killed_at = time.monotonic()
            self._executor.send(Stop(self._number, kill=True))

    @property
    def alive(self) -> bool:
        return self._alive

    @property
    def heard_at(self) -> float:
        return time.monotonic() if self._inbox or self._heard_at is None else self._heard_at

    @property
    def where(self) -> str:
        return self._where or f"Ray cluster {self._executor.address}"

    @property
    def is_overdue(self) -> bool:
        """It was killed a while ago, and nobody has told its end."""
        return self._killed_at is not None and time.monotonic() - self._killed_at > KILL_S

    def take(self, told: Told) -> None:
        """From the executor's thread."""
        self._where = told.where
        self._heard_at = time.monotonic()
        self._add([decode_to_runner(bytes(message)) for message in told.messages])

    def end(self, messages: tuple[ToRunner, ...]) -> None:
        self._add(list(messages))

    def _add(self, messages: list[ToRunner]) -> None:
        self._alive = self._alive and not any(isinstance(message, Ended) for message in messages)
        self._inbox.extend(messages)
        self._wake()


def custom_resources(job: Job) -> dict[str, float]:
    """What its labels ask of the cluster beside cores, memory and accelerators. Raises InvalidValue naming the label."""
    asked: dict[str, float] = {}
    for label, value in job.labels.items():
        if label.startswith(LABEL):
            try:
                asked[label.removeprefix(LABEL)] = amount = float(value)
            except ValueError:
                amount = -1.0
            if not 0 < amount < float("inf"):
                text = f"The label {label} must be a positive number, an amount of a Ray resource; it is {value!r}."
                raise InvalidValue(text, param="labels")
    return asked


def _wait_for(signal: int) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(signal, selectors.EVENT_READ)
        selector.select()
    os.eventfd_read(signal)
